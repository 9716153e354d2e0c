//! Log messages → templates: what stays of a message when its variable parts are masked.
//!
//! There is no clustering here, on purpose. Drain and its kin learn templates from the messages
//! they saw, so that the template of a message depends on what came before, and two runs over the
//! same records in another order disagree. A pure function of the text gives the same template on
//! every host, in every order, before and after a restart, and a person can see why. The price is
//! that a variable word without any mark of one (a user's name in prose) makes several templates.

/// Stands for a variable part.
const WILDCARD: &str = "<*>";

/// Stands for the rest of a message that is cut.
const CUT: char = '…';

/// The longest template, in bytes.
const BYTES_MAX: usize = 256;

/// The most words of a template.
const WORDS_MAX: usize = 32;

/// So much of a line is looked at, in bytes: quotes that never close must not cost their square.
const LINE_BYTES_MAX: usize = 4_096;

/// A word longer than this is no word but data.
const WORD_BYTES_MAX: usize = 64;

/// Quoted values of these keys are the message of a structured record, and are masked inside
/// instead of as a whole.
const MESSAGE_KEYS: [&str; 8] = [
    "msg", "message", "event", "error", "err", "level", "severity", "logger",
];

/// The methods with which a quoted request line begins.
const HTTP_METHODS: [&str; 7] = ["GET", "POST", "PUT", "DELETE", "HEAD", "PATCH", "OPTIONS"];

/// Words of dates as `ctime` and syslog write them: without a mask a message that holds one would
/// be new each Monday.
const CALENDAR: [&str; 19] = [
    "Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun", "Jan", "Feb", "Mar", "Apr", "May", "Jun",
    "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
];

/// Units that a number changes with its size: beside a number they are part of it.
const UNITS: [&str; 14] = [
    "B", "kB", "KB", "MB", "GB", "TB", "KiB", "MiB", "GiB", "TiB", "ns", "us", "µs", "ms",
];

/// Ends of host names. Too few rather than too many: `java.io` is none.
const TOP_DOMAINS: [&str; 12] = [
    "com", "net", "org", "edu", "gov", "info", "dev", "cloud", "local", "internal", "lan", "arpa",
];

/// Masks the variable parts of a message with `<*>`.
///
/// Looks at the first line. A word is variable if it holds a digit, is a hexadecimal id, a path, a
/// host, an address, a URL or a name of the calendar; so is a quoted text, unless it is a key, a request
/// line, or the message of a structured record. The key of `key=value` stays, as does punctuation
/// around a word; neighbouring variable parts become one. The result has at most 256 bytes and 32
/// words; what is cut off shows as `…`.
pub fn mask(body: &str) -> String {
    let mut text = String::new();
    mask_into(body, &mut text);
    text
}

/// As [`mask`], into memory that is used again.
pub fn mask_into(body: &str, text: &mut String) {
    let line = body.trim_start().lines().next().unwrap_or("").trim_end();
    text.clear();
    let mut template = Template {
        text: std::mem::take(text),
        ..Template::default()
    };
    template.mask(&line[..line.floor_char_boundary(LINE_BYTES_MAX)], 0);
    *text = template.text;
}

/// A template as it is written.
#[derive(Default)]
struct Template {
    text: String,
    words: usize,
    /// White space came since the last part.
    spaced: bool,
    /// Where the text behind the last wildcard begins.
    behind_wildcard: Option<usize>,
    /// The last word is a key whose quoted value is a message.
    key_is_message: bool,
    full: bool,
}

impl Template {
    fn mask(&mut self, line: &str, depth: usize) {
        let mut rest = line;
        while let Some(first) = rest.chars().next() {
            if self.full {
                return;
            }
            let taken = if first == '\u{1b}' {
                escape_len(rest)
            } else if first.is_whitespace() || first.is_control() {
                self.spaced = true;
                first.len_utf8()
            } else if let Some(quoted) = quoted(rest, &self.text, self.spaced) {
                self.quote(quoted, &rest[quoted.len()..], depth);
                quoted.len()
            } else if is_delimiter(first) {
                self.punctuation(first);
                first.len_utf8()
            } else {
                let len = word_len(rest);
                self.word(&rest[..len]);
                len
            };
            rest = &rest[taken..];
        }
    }

    /// A quoted text, with its quotes; `after` is what follows.
    fn quote(&mut self, quoted: &str, after: &str, depth: usize) {
        let inside = &quoted[1..quoted.len() - 1];
        let is_key = after.trim_start().starts_with(':') && !is_variable(inside);
        let is_request = inside
            .split_once(' ')
            .is_some_and(|(method, _)| HTTP_METHODS.contains(&method));
        let is_message = std::mem::take(&mut self.key_is_message);
        let quote = &quoted[..1];
        if depth == 0 && (is_key || is_request || is_message) {
            self.constant(quote);
            self.spaced = false;
            self.mask(inside, depth + 1);
            self.spaced = false;
            self.constant(quote);
            self.key_is_message = is_key && MESSAGE_KEYS.contains(&inside);
        } else {
            self.wildcard();
        }
    }

    fn punctuation(&mut self, mark: char) {
        let is_message = self.key_is_message && (mark == '=' || mark == ':');
        self.constant(mark.encode_utf8(&mut [0; 4]));
        self.key_is_message = is_message;
    }

    /// A stretch without white space and delimiters: `word.`, `key:value`, `10.0.0.1:80`.
    fn word(&mut self, word: &str) {
        let core = word.trim_end_matches(['.', ':', '!', '?']);
        // The colon between a quoted key and its value is a word of its own.
        let is_message = MESSAGE_KEYS.contains(&core) || self.key_is_message && word == ":";
        let tail = &word[core.len()..];
        match core.split_once(':') {
            Some((key, value))
                if is_key(key)
                    && !value.is_empty()
                    && !value.starts_with(['/', '\\'])
                    && !is_socket(key, value) =>
            {
                self.constant(key);
                self.constant(":");
                self.part(value);
            }
            Some(_) | None => self.part(core),
        }
        if !tail.is_empty() {
            self.constant(tail);
        }
        self.key_is_message = is_message;
    }

    fn part(&mut self, part: &str) {
        let beside_number = self.behind_wildcard == Some(self.text.len());
        if is_variable(part) || beside_number && UNITS.contains(&part) {
            self.wildcard();
        } else {
            self.constant(part);
        }
    }

    fn wildcard(&mut self) {
        if let Some(behind) = self.behind_wildcard {
            let between = &self.text[behind..];
            if between.chars().all(|c| matches!(c, ' ' | ',' | ';' | '|')) {
                self.text.truncate(behind);
                self.spaced = false;
                return;
            }
        }
        self.constant(WILDCARD);
        if !self.full {
            self.behind_wildcard = Some(self.text.len());
        }
    }

    fn constant(&mut self, part: &str) {
        self.key_is_message = false;
        if self.full || part.is_empty() {
            return;
        }
        let starts_word = self.text.is_empty() || self.spaced;
        let space = usize::from(self.spaced && !self.text.is_empty());
        if BYTES_MAX < self.text.len() + space + part.len() + CUT.len_utf8()
            || starts_word && self.words == WORDS_MAX
        {
            self.text.push(CUT);
            self.full = true;
            return;
        }
        if space == 1 {
            self.text.push(' ');
        }
        self.words += usize::from(starts_word);
        self.text.push_str(part);
        self.spaced = false;
    }
}

/// The bytes of the word at the beginning. The query of a path or URL belongs to it.
fn word_len(rest: &str) -> usize {
    let up_to = |ends: fn(char) -> bool| {
        rest.find(|c: char| c.is_whitespace() || c.is_control() || ends(c))
            .unwrap_or(rest.len())
    };
    let len = up_to(is_delimiter);
    let word = &rest[..len];
    if word.contains('?') && word.contains('/') {
        return up_to(|c| matches!(c, '"' | '\'' | '`' | '<' | '>' | ')' | ']' | '}'));
    }
    len
}

/// What parts words beside white space; these marks always stay.
fn is_delimiter(c: char) -> bool {
    matches!(
        c,
        ',' | ';' | '(' | ')' | '[' | ']' | '{' | '}' | '"' | '\'' | '`' | '=' | '|' | '<' | '>'
    )
}

/// The quoted text at the beginning, with its quotes. A single quote only opens behind something
/// that is no word, and only closes before such, so that an apostrophe is none.
fn quoted<'a>(rest: &'a str, before: &str, spaced: bool) -> Option<&'a str> {
    let quote = rest.chars().next()?;
    if !matches!(quote, '"' | '\'' | '`') {
        return None;
    }
    let is_apostrophe = quote == '\'';
    if is_apostrophe && !spaced && before.chars().next_back().is_some_and(is_word) {
        return None;
    }
    let mut escaped = false;
    let mut ends = rest.char_indices().skip(1);
    let end = ends.find(|(place, c)| {
        let closes = *c == quote && !escaped;
        escaped = *c == '\\' && !escaped;
        let next = rest[place + c.len_utf8()..].chars().next();
        closes && !(is_apostrophe && next.is_some_and(is_word))
    });
    end.map(|(place, _)| &rest[..=place])
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// The key of a `key:value` word.
fn is_key(key: &str) -> bool {
    !key.is_empty()
        && key
            .chars()
            .all(|c| c.is_alphabetic() || matches!(c, '_' | '-' | '.'))
        && !CALENDAR.contains(&key)
        && !is_host_name(key)
}

/// A host and its port; with one dot only it may be a file and its line.
fn is_socket(host: &str, port: &str) -> bool {
    1 < host.matches('.').count()
        && !host.chars().any(char::is_uppercase)
        && port.chars().all(|c| c.is_ascii_digit())
}

fn is_variable(part: &str) -> bool {
    WORD_BYTES_MAX < part.len()
        || part.chars().any(char::is_numeric)
        || CALENDAR.contains(&part)
        || is_hexadecimal(part)
        || is_path(part)
        || is_host_name(part)
        || is_mail_address(part)
        || part.contains("://")
}

/// A hexadecimal id of letters only (those with digits are variable anyway), also with hyphens as
/// UUIDs have them.
fn is_hexadecimal(part: &str) -> bool {
    8 <= part.len()
        && part
            .bytes()
            .all(|byte| byte.is_ascii_hexdigit() || byte == b'-')
        && part.bytes().any(|byte| byte != b'-')
}

fn is_path(part: &str) -> bool {
    if ["./", "../", "~/"]
        .iter()
        .any(|start| part.starts_with(start))
    {
        return part.chars().any(is_word);
    }
    ['/', '\\']
        .into_iter()
        .any(|separator| 1 < part.matches(separator).count() && part.chars().any(is_word))
}

fn is_mail_address(part: &str) -> bool {
    part.split_once('@')
        .is_some_and(|(name, host)| !name.is_empty() && host.contains('.') && is_host(host))
}

/// A host name that ends as such do, also before a country: `www.example.com`, `www.example.co.jp`.
/// Names of classes and files look alike, hence the list.
fn is_host_name(part: &str) -> bool {
    if !part.contains('.') || !is_host(part) || part.chars().any(char::is_uppercase) {
        return false;
    }
    let mut ends = part.rsplit('.');
    let (last, before) = (ends.next().unwrap_or(""), ends.next().unwrap_or(""));
    let is_country = last.len() == 2
        && (TOP_DOMAINS.contains(&before) || matches!(before, "co" | "ac"))
        && ends.next().is_some();
    !before.is_empty() && (TOP_DOMAINS.contains(&last) || is_country)
}

fn is_host(host: &str) -> bool {
    host.chars()
        .all(|c| c.is_alphanumeric() || matches!(c, '.' | '-'))
}

/// The bytes of a terminal's colour code at the beginning: it is no part of the message.
fn escape_len(rest: &str) -> usize {
    let Some(codes) = rest.strip_prefix("\u{1b}[") else {
        return 1;
    };
    codes
        .find(|c: char| !c.is_ascii_digit() && c != ';')
        .map_or(rest.len(), |end| {
            2 + end + codes[end..].chars().next().map_or(0, char::len_utf8)
        })
}

#[cfg(test)]
mod tests;
