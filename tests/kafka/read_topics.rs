//! Reads the topics of a configuration and prints what comes of their messages, a JSON object a
//! line, until its input ends. For tests of real producers.

use std::{
    error::Error,
    io::{Read, Write, stdin, stdout},
    sync::Arc,
    thread,
};

use serde_json::{Value, json};
use sluice::{
    event::Batch,
    plan::{KafkaPlan, Plan, SourcePlan},
    source::kafka::{Chunk, Consumer, Event, Positions, Settings, decode},
};
use tokio::sync::mpsc;

fn main() -> Result<(), Box<dyn Error>> {
    let path = std::env::args().nth(1).ok_or("name a configuration")?;
    let plan = Plan::parse(&sluice::source::files::text(path.as_ref())?)?;
    let Some(SourcePlan::Kafka(kafka)) = plan.sources.into_iter().next() else {
        return Err("the configuration has no source".into());
    };
    let kafka = Arc::new(kafka);
    let settings = Settings::new(Arc::clone(&kafka));
    let (consumer, mut events) = Consumer::start(&settings, &Positions::new())?;
    let (ended, end) = mpsc::channel::<()>(1);
    thread::spawn(move || {
        stdin().lock().read_to_end(&mut Vec::new()).ok();
        drop(ended);
    });
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    runtime.block_on(print(&kafka, &mut events, end))?;
    consumer.stop();
    Ok(())
}

async fn print(
    plan: &KafkaPlan,
    events: &mut mpsc::Receiver<Event>,
    mut end: mpsc::Receiver<()>,
) -> Result<(), Box<dyn Error>> {
    let mut output = stdout().lock();
    loop {
        let event = tokio::select! {
            event = events.recv() => event,
            _ = end.recv() => return Ok(()),
        };
        let Some(event) = event else { return Ok(()) };
        let lines = match event {
            Event::Chunk(chunk) => messages(plan, &chunk),
            Event::Began { partition, at } => {
                vec![json!({"began": partition.to_string(), "at": at})]
            }
            Event::Lost(lost) => vec![json!({"lost": lost.partition.to_string()})],
            Event::Down { topic, reason } => {
                vec![json!({"down": topic, "reason": reason.to_string()})]
            }
            Event::Up { topic } => vec![json!({"up": topic})],
        };
        for line in lines {
            writeln!(output, "{line}")?;
        }
        output.flush()?;
    }
}

fn messages(plan: &KafkaPlan, chunk: &Chunk) -> Vec<Value> {
    let topic = &*chunk.partition.topic;
    let format = plan.topics[topic];
    let decoded = chunk
        .messages
        .iter()
        .map(|message| match decode(format, message, 64 << 20) {
            Ok(batch) => described(topic, &batch),
            Err(error) => json!({"topic": topic, "error": error.to_string()}),
        });
    decoded.collect()
}

fn described(topic: &str, batch: &Batch) -> Value {
    let series: Vec<Value> = batch
        .series
        .iter()
        .map(|block| json!({"series": block.labels.to_string(), "points": block.points.len()}))
        .collect();
    let logs: Vec<Value> = batch
        .logs
        .iter()
        .map(|record| {
            json!({
                "at": record.at.to_string(),
                "severity": record.severity.to_string(),
                "body": record.body,
                "attributes": record.attributes.to_string(),
            })
        })
        .collect();
    let rejects = batch.rejects.to_string();
    json!({"topic": topic, "series": series, "logs": logs, "rejects": rejects})
}
