//! Fixes the order of inputs, and knows which of them are on their way.
//!
//! Every input gets its place in one queue, whoever brings it. From there the recorder makes a group of
//! them durable at a time; only then do they count. A batch is put into the shards by whoever brought
//! it, as soon as it is durable, and so are messages that were fetched; ticks, deployment events and
//! losses go to the core in order. A tick waits until every batch that stands before it is put.
//!
//! What was refused is not before anything: when a group cannot be made durable, everything that waits
//! behind it is refused too, so that no batch counts under a tick that does not.

mod over_limit;
mod ticket;
mod waiting;

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Condvar, Mutex, MutexGuard},
    time::Duration,
};

pub(super) use ticket::{Running, Ticket};
use tokio::sync::{mpsc, oneshot};
pub(super) use waiting::{Outcome, PlanReply, Waiting};

use waiting::Then;

use super::{
    answers::{EventReply, Unavailable},
    core::Order,
    offsets::Offsets,
    saver::Resume,
};
#[cfg(feature = "kafka")]
use crate::journal::OffsetRange;
use crate::{
    event::{DeploymentEvent, Span, Timestamp},
    journal::{Body, Entry, PlanChange, Position},
    plan::Plan,
    reduce::Epoch,
};

/// Most bytes of entries that are made durable together.
const GROUP_BYTES_MAX: usize = 16 << 20;

/// A group is made durable once nothing came for this part of the longest delay.
const PAUSES: u32 = 8;

/// The order of inputs.
#[derive(Debug)]
pub(super) struct Sequence {
    state: Mutex<State>,
    /// Something waits for the recorder, much does, or no more comes.
    filled: Condvar,
    /// No more comes.
    closed: Condvar,
    /// A batch was put.
    put: Condvar,
    /// Whether entries are made durable before they count.
    is_recorded: bool,
    orders: mpsc::Sender<Order>,
    lateness: Span,
    resolution: Span,
}

#[derive(Debug)]
struct State {
    standing: Standing,
    /// Where a batch stands that comes next.
    epoch: Epoch,
    /// The same after the last tick that is durable.
    durable: Epoch,
    waiting: Vec<Waiting>,
    waiting_bytes: usize,
    /// How many batches of each epoch are on their way. Ascending by number but for what was refused: an
    /// epoch that was given up is gone on with by other batches, while its own still hear of it.
    running: VecDeque<(u32, usize)>,
    /// What batches have put into buckets that may still be open, by the number of their epoch.
    unclosed: BTreeMap<u32, Unclosed>,
    /// How far each partition is recorded durably.
    offsets: Arc<Offsets>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    /// The core reads its journal: nothing is taken yet.
    Recovering,
    Open,
    /// The core goes on under another configuration: nothing is taken until it has.
    Changing,
    Closed,
}

/// What one epoch has put.
#[derive(Clone, Copy, Debug)]
struct Unclosed {
    epoch: Epoch,
    /// Where its first batch stands.
    first: Position,
    /// The latest time of anything that was put.
    latest: Timestamp,
}

impl Sequence {
    /// An order that begins when [`Sequence::open`] is called.
    pub(super) fn new(
        orders: mpsc::Sender<Order>,
        is_recorded: bool,
        lateness: Span,
        resolution: Span,
    ) -> Self {
        Self {
            state: Mutex::new(State {
                standing: Standing::Recovering,
                epoch: Epoch::default(),
                durable: Epoch::default(),
                waiting: Vec::new(),
                waiting_bytes: 0,
                running: VecDeque::new(),
                unclosed: BTreeMap::new(),
                offsets: Arc::default(),
            }),
            filled: Condvar::new(),
            closed: Condvar::new(),
            put: Condvar::new(),
            is_recorded,
            orders,
            lateness,
            resolution,
        }
    }

    /// Takes inputs from now on, unless it was closed; `epoch` is where the core stands, `offsets` how
    /// far what was fetched is recorded.
    pub(super) fn open(&self, epoch: Epoch, offsets: Arc<Offsets>) {
        let mut state = self.lock();
        state.epoch = epoch;
        state.durable = epoch;
        state.offsets = offsets;
        if state.standing == Standing::Recovering {
            state.standing = Standing::Open;
        }
    }

    /// Takes no more inputs. What waits is still recorded.
    pub(super) fn close(&self) {
        self.lock().standing = Standing::Closed;
        self.filled.notify_all();
        self.closed.notify_all();
    }

    /// Waits so long, or until it is closed; whether it is.
    pub(super) fn wait_closed(&self, patience: Duration) -> bool {
        let is_open = |state: &mut State| state.standing != Standing::Closed;
        let waited = self
            .closed
            .wait_timeout_while(self.lock(), patience, is_open);
        let (state, _) = waited.expect(POISONED);
        state.standing == Standing::Closed
    }

    /// Entries that wait to be recorded.
    pub(super) fn waiting(&self) -> usize {
        self.lock().waiting.len()
    }

    /// Gives a batch its place.
    ///
    /// # Errors
    /// Nothing is taken at the moment.
    pub(super) fn batch(self: &Arc<Self>, body: Body) -> Result<Ticket, Unavailable> {
        let mut state = self.open_state()?;
        Ok(self.place(&mut state, Entry::Batch(body)))
    }

    /// Gives what was fetched, or was lost before it could be, its places. They stand together: all of
    /// them become durable, or none does.
    ///
    /// # Errors
    /// Nothing is taken at the moment.
    #[cfg(any(feature = "kafka", test))]
    pub(super) fn fetched(
        self: &Arc<Self>,
        entries: Vec<Entry>,
    ) -> Result<Vec<Ticket>, Unavailable> {
        let mut state = self.open_state()?;
        if !self.is_recorded {
            let is_loss = |entry: &&Entry| matches!(entry, Entry::Lost(_));
            let losses = entries.iter().filter(is_loss).count();
            let room = self.orders.try_reserve_many(losses);
            for order in room.map_err(|_| Unavailable::Busy)? {
                order.send(Order::Lost);
            }
        }
        let place = |entry| self.place(&mut state, entry);
        Ok(entries.into_iter().map(place).collect())
    }

    /// Gives deployment events that were fetched their places, and behind them the range that is read with
    /// them. After a kill in between they are fetched once more, which changes nothing: so none is lost.
    ///
    /// # Errors
    /// Nothing is taken at the moment.
    #[cfg(feature = "kafka")]
    pub(super) fn told(
        self: &Arc<Self>,
        events: Vec<(DeploymentEvent, EventReply)>,
        range: OffsetRange,
    ) -> Result<Ticket, Unavailable> {
        let mut state = self.open_state()?;
        if self.is_recorded {
            for (event, reply) in events {
                let entry = Entry::Deployment(event.clone());
                let then = Then::Event(Box::new(event), reply);
                self.wait(&mut state, Waiting { entry, then });
            }
        } else {
            let room = self.orders.try_reserve_many(events.len());
            let room = room.map_err(|_| Unavailable::Busy)?;
            for (order, (event, reply)) in room.zip(events) {
                order.send(Order::Event { event, reply });
            }
        }
        Ok(self.place(&mut state, Entry::Consumed(range)))
    }

    fn place(self: &Arc<Self>, state: &mut State, entry: Entry) -> Ticket {
        let (reply, durable) = oneshot::channel();
        let epoch = state.epoch;
        match state.running.back_mut() {
            Some((number, count)) if *number == epoch.number => *count += 1,
            Some(_) | None => state.running.push_back((epoch.number, 1)),
        }
        let running = Running {
            sequence: Arc::clone(self),
            epoch,
        };
        if self.is_recorded {
            let then = match &entry {
                Entry::Lost(_) => Then::Lose(reply),
                Entry::Batch(_)
                | Entry::Consumed(_)
                | Entry::Deployment(_)
                | Entry::Tick(_)
                | Entry::Plan(_)
                | Entry::Start(_)
                | Entry::OverLimit(_) => Then::Put(reply),
            };
            self.wait(state, Waiting { entry, then });
        } else {
            reply
                .send(Ok(Position::START))
                .expect("the receiver is still in our hands");
        }
        Ticket {
            epoch,
            durable,
            running,
        }
    }

    /// Gives a tick its place. The answer comes when the core has taken it.
    ///
    /// # Errors
    /// Nothing is taken at the moment.
    pub(super) fn tick(
        &self,
        now: Timestamp,
    ) -> Result<oneshot::Receiver<Result<(), Unavailable>>, Unavailable> {
        let (reply, answer) = oneshot::channel();
        let mut state = self.open_state()?;
        let after = state.epoch.after(now, self.lateness, self.resolution);
        self.order(&mut state, Entry::Tick(now), Then::Tick(now, after, reply))?;
        state.epoch = after;
        Ok(answer)
    }

    /// Gives a change of the configuration its place. Behind another one nothing is taken until the core has
    /// gone on, and called [`Sequence::reopen`]: so every batch was selected by one configuration.
    ///
    /// # Errors
    /// Nothing is taken at the moment.
    pub(super) fn plan(
        &self,
        change: PlanChange,
        plan: Arc<Plan>,
        reply: PlanReply,
    ) -> Result<(), Unavailable> {
        let mut state = self.open_state()?;
        let is_other = change.is_other();
        let then = Then::Plan(plan, Box::new(change.clone()), reply);
        self.order(&mut state, Entry::Plan(change), then)?;
        if is_other {
            state.standing = Standing::Changing;
        }
        Ok(())
    }

    /// Takes inputs again after a change of the configuration.
    pub(super) fn reopen(&self) {
        let mut state = self.lock();
        if state.standing == Standing::Changing {
            state.standing = Standing::Open;
        }
    }

    /// Gives a deployment event its place.
    ///
    /// # Errors
    /// Nothing is taken at the moment.
    pub(super) fn event(
        &self,
        event: DeploymentEvent,
        reply: EventReply,
    ) -> Result<(), Unavailable> {
        let mut state = self.open_state()?;
        let entry = Entry::Deployment(event.clone());
        self.order(&mut state, entry, Then::Event(Box::new(event), reply))
    }

    fn order(&self, state: &mut State, entry: Entry, then: Then) -> Result<(), Unavailable> {
        if self.is_recorded {
            self.wait(state, Waiting { entry, then });
            return Ok(());
        }
        match then.into_order([Position::START; 2], Arc::clone(&state.offsets)) {
            Some(order) => self.orders.try_send(order).map_err(|_| Unavailable::Busy),
            None => Ok(()),
        }
    }

    /// Lets an entry wait for the recorder, which is woken only if it need not wait for more.
    fn wait(&self, state: &mut State, waiting: Waiting) {
        if let Entry::Batch(body) = &waiting.entry {
            state.waiting_bytes += body.bytes.len();
        }
        state.waiting.push(waiting);
        if state.waiting.len() == 1 || GROUP_BYTES_MAX <= state.waiting_bytes {
            self.filled.notify_one();
        }
    }

    /// Waits for entries, then at most `delay` longer for as long as more come, and takes them out. `None`:
    /// no more come.
    ///
    /// Who sends one request after the other sends the next one when a group is durable: all of them come close
    /// behind each other, and if the group waits for the last one they share its sync for good.
    pub(super) fn next_group(&self, delay: Duration) -> Option<Vec<Waiting>> {
        let is_empty =
            |state: &mut State| state.waiting.is_empty() && state.standing != Standing::Closed;
        let state = self.lock();
        let mut state = self.filled.wait_while(state, is_empty).expect(POISONED);
        let is_small = |state: &mut State| {
            state.waiting_bytes < GROUP_BYTES_MAX && state.standing != Standing::Closed
        };
        for _ in 0..PAUSES {
            let came = state.waiting.len();
            if delay.is_zero() || came == 0 {
                break;
            }
            let waited = self
                .filled
                .wait_timeout_while(state, delay / PAUSES, is_small);
            let (after, pause) = waited.expect(POISONED);
            state = after;
            if !pause.timed_out() || state.waiting.len() == came {
                break;
            }
        }
        if state.waiting.is_empty() {
            return None;
        }
        state.waiting_bytes = 0;
        Some(std::mem::take(&mut state.waiting))
    }

    /// Lets inputs count that are durable; `starts` says where they stand and `end` where the next will.
    /// Says whether the core still takes orders.
    pub(super) fn settle(&self, group: Vec<Outcome>, starts: &[Position], end: Position) -> bool {
        let ends = starts.iter().skip(1).copied().chain([end]);
        for ((outcome, start), end) in group.into_iter().zip(starts).zip(ends) {
            let Outcome { then, range } = outcome;
            let mut state = self.lock();
            if let Then::Tick(_, after, _) = &then {
                state.durable = *after;
            }
            if let Some(range) = &range {
                Arc::make_mut(&mut state.offsets).advance(range);
            }
            let offsets = Arc::clone(&state.offsets);
            drop(state);
            if let Some(order) = then.into_order([*start, end], offsets)
                && self.orders.blocking_send(order).is_err()
            {
                return false;
            }
        }
        true
    }

    /// Refuses inputs that could not be made durable, and everything that waits behind them.
    pub(super) fn refuse(&self, group: Vec<Outcome>) {
        let mut state = self.lock();
        state.epoch = state.durable;
        state.waiting_bytes = 0;
        if state.standing == Standing::Changing {
            state.standing = Standing::Open;
        }
        let behind = std::mem::take(&mut state.waiting);
        drop(state);
        let behind = behind.into_iter().map(|waiting| waiting.then);
        for then in group.into_iter().map(|outcome| outcome.then).chain(behind) {
            then.refuse();
        }
    }

    /// Waits until every batch is put that stands in this epoch or before.
    pub(super) fn wait_put(&self, number: u32) {
        let state = self.lock();
        let is_running = |state: &mut State| state.is_running(number);
        drop(self.put.wait_while(state, is_running).expect(POISONED));
    }

    /// Notes what a batch has put.
    pub(super) fn note_put(&self, epoch: Epoch, at: Position, latest: Timestamp) {
        let mut state = self.lock();
        let known = state.unclosed.entry(epoch.number).or_insert(Unclosed {
            epoch,
            first: at,
            latest,
        });
        known.first = known.first.min(at);
        known.latest = known.latest.max(latest);
    }

    /// From where a state has to be read on that has closed all buckets before a time and has seen the
    /// epochs up to a number: the first batch that has put something into a bucket that is still open.
    pub(super) fn resume(&self, number: u32, closed: Timestamp) -> Option<Resume> {
        let state = self.lock();
        let mut seen = state.unclosed.range(..=number);
        let first = seen.find(|(_, unclosed)| closed <= unclosed.latest);
        first.map(|(_, unclosed)| Resume {
            from: unclosed.first,
            epoch: unclosed.epoch,
        })
    }

    /// Forgets what was put: all of it is put once more.
    pub(super) fn forget_all(&self) {
        self.lock().unclosed.clear();
    }

    /// Forgets what was put into buckets that are closed.
    pub(super) fn forget_closed(&self, number: u32, closed: Timestamp) {
        let mut state = self.lock();
        state
            .unclosed
            .retain(|of, unclosed| number < *of || closed <= unclosed.latest);
    }

    fn open_state(&self) -> Result<MutexGuard<'_, State>, Unavailable> {
        let state = self.lock();
        match state.standing {
            Standing::Open => Ok(state),
            Standing::Recovering => Err(Unavailable::Recovering),
            Standing::Changing => Err(Unavailable::Busy),
            Standing::Closed => Err(Unavailable::Stopped),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect(POISONED)
    }
}

impl State {
    /// Whether a batch is on its way that stands in this epoch or before.
    fn is_running(&self, number: u32) -> bool {
        // After a refusal a later epoch may stand first.
        let mut running = self.running.iter();
        running.any(|(of, count)| *of <= number && 0 < *count)
    }
}

/// Nothing under the lock can panic.
const POISONED: &str = "no thread panicked while it held the order of inputs";

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::{
        event::End,
        journal::{Encoding, Format},
    };

    #[test]
    fn a_tick_waits_for_batches_that_take_the_place_of_refused_ones() {
        let (orders, _inbox) = mpsc::channel(1);
        let second = Span::from_seconds(1);
        let sequence = Arc::new(Sequence::new(orders, true, second, second));
        sequence.open(Epoch::default(), Arc::default());
        let body = || Body {
            format: Format::RemoteWrite1,
            encoding: Encoding::Snappy,
            bytes: Bytes::new(),
        };
        let _answer = sequence.tick(Timestamp::from_seconds(1)).unwrap();
        let refused = sequence.batch(body()).unwrap();
        let group = sequence.next_group(Duration::ZERO).unwrap();
        sequence.refuse(group.into_iter().map(|waiting| waiting.parts().1).collect());

        // Whoever brought the refused one has not heard of it yet.
        let batch = sequence.batch(body()).unwrap();
        assert_eq!((refused.epoch.number, batch.epoch.number), (1, 0));
        assert!(sequence.lock().is_running(0));
        drop(batch);
        assert!(!sequence.lock().is_running(0));
        assert!(sequence.lock().is_running(1));
        drop(refused);
        assert!(!sequence.lock().is_running(1));
    }

    #[test]
    fn a_group_goes_without_delay_when_it_is_full_or_no_more_comes() {
        let (orders, _inbox) = mpsc::channel(1);
        let second = Span::from_seconds(1);
        let sequence = Arc::new(Sequence::new(orders, true, second, second));
        sequence.open(Epoch::default(), Arc::default());
        let place = |bytes: usize| {
            let body = Body {
                format: Format::RemoteWrite1,
                encoding: Encoding::Snappy,
                bytes: Bytes::from(vec![0; bytes]),
            };
            sequence.batch(body).unwrap()
        };
        let week = Duration::from_hours(168);
        let _full = place(GROUP_BYTES_MAX);
        assert_eq!(sequence.next_group(week).map(|group| group.len()), Some(1));
        let _last = [place(1), place(1)];
        sequence.close();
        assert_eq!(sequence.next_group(week).map(|group| group.len()), Some(2));
        assert!(sequence.next_group(week).is_none());
    }

    #[test]
    fn a_group_ends_though_more_and_more_comes() {
        let (orders, _inbox) = mpsc::channel(1);
        let second = Span::from_seconds(1);
        let sequence = Arc::new(Sequence::new(orders, true, second, second));
        sequence.open(Epoch::default(), Arc::default());
        let place = || {
            let (reply, _) = oneshot::channel();
            let event = DeploymentEvent::End(End {
                at: Timestamp::from_seconds(1),
                deployment: "d1".to_owned(),
            });
            sequence.event(event, EventReply(reply)).unwrap();
        };
        place();
        std::thread::scope(|scope| {
            let group = scope.spawn(|| sequence.next_group(Duration::from_millis(80)));
            let mut placed = 1;
            while !group.is_finished() {
                assert!(placed < 1 << 22, "the group goes on for ever");
                place();
                placed += 1;
                std::thread::yield_now();
            }
            let group = group.join().unwrap().unwrap();
            assert!(!group.is_empty());
            assert_eq!(group.len() + sequence.waiting(), placed);
        });
    }
}
