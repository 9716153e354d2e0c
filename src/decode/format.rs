//! Which format a file of a recording has, told by its name.

/// Format of a data file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Format {
    /// `*.csv`: read by [`csv`](super::csv).
    Csv,
    /// `*.metrics.jsonl`: a line is a request for [`otlp_json::metrics`](super::otlp_json::metrics).
    OtlpMetrics,
    /// `*.logs.jsonl`: a line is a request for [`otlp_json::logs`](super::otlp_json::logs).
    OtlpLogs,
    /// `*.om`: [`openmetrics`](super::openmetrics) with times in seconds.
    OpenMetrics,
    /// `*.prom`: [`openmetrics`](super::openmetrics) with times in milliseconds.
    PrometheusText,
    /// `*.log.jsonl`: read by [`log_lines`](super::log_lines).
    LogLines,
    /// `*.log`: read by [`plain_lines`](super::plain_lines).
    PlainLines,
    /// `*.journal`: Sluice's own journal.
    Journal,
    /// `deployments.jsonl`: read by [`deployments`](super::deployments).
    Deployments,
}

/// Compression of a whole file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Compression {
    /// None.
    None,
    /// `.gz`.
    Gzip,
    /// `.zst`.
    Zstd,
}

impl Format {
    /// Tells format and compression by the name of a file, with or without folders before it, in
    /// any case. `None`: the file is no data file of a recording.
    pub fn from_file_name(name: &str) -> Option<(Self, Compression)> {
        let name = name
            .rsplit(['/', '\\'])
            .next()
            .unwrap_or(name)
            .to_ascii_lowercase();
        let (stem, compression) = match name.rsplit_once('.') {
            Some((stem, "gz")) => (stem, Compression::Gzip),
            Some((stem, "zst")) => (stem, Compression::Zstd),
            Some(_) | None => (&*name, Compression::None),
        };
        if stem == "deployments.jsonl" {
            return Some((Self::Deployments, compression));
        }
        let suffixes = [
            (".csv", Self::Csv),
            (".metrics.jsonl", Self::OtlpMetrics),
            (".logs.jsonl", Self::OtlpLogs),
            (".om", Self::OpenMetrics),
            (".prom", Self::PrometheusText),
            (".log.jsonl", Self::LogLines),
            (".log", Self::PlainLines),
            (".journal", Self::Journal),
        ];
        let (_, format) = suffixes
            .into_iter()
            .find(|(suffix, _)| stem.len() > suffix.len() && stem.ends_with(suffix))?;
        Some((format, compression))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_name_tells_format_and_compression() {
        use Compression::{Gzip, None as Plain, Zstd};
        for (name, expected) in [
            ("cpu.csv", Some((Format::Csv, Plain))),
            ("a/b.metrics.jsonl.zst", Some((Format::OtlpMetrics, Zstd))),
            ("b.logs.jsonl", Some((Format::OtlpLogs, Plain))),
            ("x.om", Some((Format::OpenMetrics, Plain))),
            ("X.PROM.GZ", Some((Format::PrometheusText, Gzip))),
            ("app.log.jsonl.gz", Some((Format::LogLines, Gzip))),
            ("app.log", Some((Format::PlainLines, Plain))),
            ("r.journal", Some((Format::Journal, Plain))),
            ("rec/deployments.jsonl", Some((Format::Deployments, Plain))),
            ("other.jsonl", None),
            ("sluice.yaml", None),
            (".csv", None),
            ("cpu.csv/", None),
            ("", None),
        ] {
            assert_eq!(Format::from_file_name(name), expected, "{name}");
        }
    }
}
