//! What is logged: a filter that somebody wrote, checked before it silences everything.

use tracing_subscriber::EnvFilter;

/// The words for how much is logged.
const LEVELS: [&str; 6] = ["error", "warn", "info", "debug", "trace", "off"];

/// A filter of what is logged, and what is odd about it.
#[derive(Debug)]
pub(super) struct LogFilter {
    pub(super) filter: EnvFilter,
    /// That it silences the engine although nobody asked for that.
    pub(super) warning: Option<String>,
}

impl LogFilter {
    /// Reads a filter. A blank one, as an empty variable is, means `info`.
    ///
    /// # Errors
    /// It is none, and why.
    pub(super) fn read(text: &str) -> Result<Self, String> {
        // The library takes any word for the name of a module, of which it then logs everything there is, and
        // of everything else nothing. What stands in brackets is about spans, and may hold commas.
        let has_spans = text.contains('[');
        let words: Vec<&str> = text.split(',').map(str::trim).collect();
        let odd = |word: &&&str| {
            !(word.is_empty() || word.contains('=') || is_level(word) || is_ours(word))
        };
        if let Some(odd) = words.iter().find(odd)
            && !has_spans
        {
            return Err(format!(
                "{odd:?} is no level: write error, warn, info, debug, trace or off, or for one module \
                 {odd}=debug"
            ));
        }
        let said: Vec<&str> = words.into_iter().filter(|word| !word.is_empty()).collect();
        let text = match said.join(",") {
            _ if has_spans => text.to_owned(),
            blank if blank.is_empty() => "info".to_owned(),
            text => text,
        };
        let filter = EnvFilter::try_new(&text).map_err(|error| error.to_string())?;
        let speaks_of_us = text
            .split(',')
            .map(str::trim)
            .any(|word| is_level(word) || is_ours(word) || word.starts_with('['));
        let warning = (!speaks_of_us).then(|| {
            format!(
                "--log {text:?} logs nothing of the engine, no error either: add a level such as info, or \
                 sluice=info"
            )
        });
        Ok(Self { filter, warning })
    }
}

fn is_level(word: &str) -> bool {
    let is_number = matches!(word, "0" | "1" | "2" | "3" | "4" | "5");
    is_number || LEVELS.iter().any(|level| level.eq_ignore_ascii_case(word))
}

fn is_ours(word: &str) -> bool {
    let rest = word.strip_prefix("sluice");
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with([':', '=', '[']))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_are_taken_that_say_what_is_logged() {
        for text in [
            "info",
            "WARN",
            "off",
            "3",
            "",
            " ",
            "sluice",
            "sluice=debug",
            "sluice::serve=trace,hyper=warn",
            "warn, h2=off",
        ] {
            let read = LogFilter::read(text).unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!(read.warning, None, "{text}");
        }
        assert_eq!(LogFilter::read("").unwrap().filter.to_string(), "info");
    }

    #[test]
    fn nonsense_is_refused() {
        for (text, part) in [
            ("verbose", "\"verbose\" is no level: write error"),
            ("info,debgu", "\"debgu\" is no level"),
            ("sluce", "sluce=debug"),
            ("sluice=loud", "level filter"),
        ] {
            let error = LogFilter::read(text).unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
    }

    #[test]
    fn a_filter_that_silences_the_engine_is_told() {
        let read = LogFilter::read("hyper=debug,sluce=info").unwrap();
        let warning = read.warning.expect("it silences the engine");
        assert!(warning.contains("logs nothing of the engine"), "{warning}");
    }
}
