//! Compiles `proto/` without `protoc`, and the two OTLP services with a codec that hands over bytes.

use std::{env, error::Error, fs, path::PathBuf};

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto");
    let descriptors = protox::compile(["sluice/v1/gates.proto"], ["proto"])?;
    let out = PathBuf::from(env::var("OUT_DIR")?);
    fs::write(
        out.join("sluice.v1.descriptors.bin"),
        prost::Message::encode_to_vec(&descriptors),
    )?;
    tonic_prost_build::configure().compile_fds(descriptors)?;
    tonic_build::manual::Builder::new().compile(&[
        otlp_service("MetricsService", "opentelemetry.proto.collector.metrics.v1"),
        otlp_service("LogsService", "opentelemetry.proto.collector.logs.v1"),
    ]);
    Ok(())
}

/// One OTLP service whose request and response stay bytes: our own walker decodes them, borrowed.
fn otlp_service(name: &str, package: &str) -> tonic_build::manual::Service {
    tonic_build::manual::Service::builder()
        .name(name)
        .package(package)
        .method(
            tonic_build::manual::Method::builder()
                .name("export")
                .route_name("Export")
                .input_type("bytes::Bytes")
                .output_type("bytes::Bytes")
                .codec_path("crate::serve::codec::BytesCodec")
                .build(),
        )
        .build()
}
