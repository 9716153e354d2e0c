//! Holds what a compiler cannot: which room imports which, and the size of files.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// The rooms in the order of the path of a data point, and what each may import. A new arrow is
/// decided here.
const ROOMS: [(&str, &[&str]); 13] = [
    ("event", &[]),
    ("decode", &["event"]),
    ("reduce", &["event"]),
    ("plan", &["event"]),
    ("detect", &["event", "reduce", "plan"]),
    ("gate", &["event", "plan", "detect"]),
    ("engine", &["event", "reduce", "plan", "detect", "gate"]),
    (
        "journal",
        &[
            "event", "decode", "reduce", "plan", "detect", "gate", "engine",
        ],
    ),
    ("ledger", &["event", "gate"]),
    (
        "source",
        &[
            "event", "decode", "reduce", "plan", "detect", "gate", "engine", "journal",
        ],
    ),
    (
        "serve",
        &[
            "event", "decode", "reduce", "plan", "detect", "gate", "engine", "journal", "ledger",
            "source",
        ],
    ),
    (
        "sink",
        &[
            "event", "decode", "reduce", "plan", "detect", "gate", "engine", "journal", "ledger",
            "source", "serve",
        ],
    ),
    (
        "cli",
        &[
            "event", "decode", "reduce", "plan", "detect", "gate", "engine", "journal", "ledger",
            "source", "serve", "sink",
        ],
    ),
];

/// Rooms that never wait, read a clock, log, or touch a file or socket.
const CORE: [&str; 7] = [
    "event", "decode", "reduce", "plan", "detect", "gate", "engine",
];

/// What the core may not name. `std::io::Read` as a bound is no I/O: the edge brings the reader.
const BANNED_IN_CORE: [&str; 12] = [
    "std::fs",
    "std::net::Tcp",
    "std::net::Udp",
    "std::thread",
    "std::process",
    "std::env",
    "tokio",
    "tracing",
    "Instant::now",
    "SystemTime",
    "println!",
    "rand::",
];

const LINES_BEFORE_TESTS_MAX: usize = 500;

#[test]
fn rooms_import_only_what_stands_before_them() {
    let mut faults = Vec::new();
    for (path, text) in sources() {
        let room = room(&path);
        let Some((_, allowed)) = ROOMS.iter().find(|(name, _)| *name == room) else {
            continue;
        };
        for imported in imports(&text) {
            let is_room = ROOMS.iter().any(|(name, _)| *name == imported);
            if is_room && imported != room && !allowed.contains(&imported.as_str()) {
                faults.push(format!(
                    "{}: {room} may not import {imported}",
                    path.display()
                ));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn the_core_does_not_touch_the_world() {
    let mut faults = Vec::new();
    for (path, text) in sources() {
        if !CORE.contains(&room(&path).as_str()) {
            continue;
        }
        for (number, line) in before_tests(&text).lines().enumerate() {
            let code = line.split("//").next().unwrap_or("");
            for banned in BANNED_IN_CORE
                .iter()
                .filter(|banned| code.contains(**banned))
            {
                faults.push(format!("{}:{}: {banned}", path.display(), number + 1));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn only_the_command_line_prints() {
    let mut faults = Vec::new();
    for (path, text) in sources() {
        if room(&path) == "cli" {
            continue;
        }
        for (number, line) in before_tests(&text).lines().enumerate() {
            let code = line.split("//").next().unwrap_or("");
            if ["println!", "print!(", "eprintln!", "eprint!("]
                .iter()
                .any(|macro_| code.contains(macro_))
            {
                faults.push(format!("{}:{}: prints", path.display(), number + 1));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn files_say_what_they_are_for_and_stay_short() {
    let mut faults = Vec::new();
    for (path, text) in sources() {
        if !text.starts_with("//!") {
            faults.push(format!("{}: does not start with //!", path.display()));
        }
        let is_test = path
            .file_stem()
            .is_some_and(|stem| stem.to_string_lossy().ends_with("tests"))
            || path.iter().any(|part| part == "tests");
        let lines = before_tests(&text).lines().count();
        if !is_test && lines > LINES_BEFORE_TESTS_MAX {
            faults.push(format!(
                "{}: {lines} lines before its tests",
                path.display()
            ));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn no_test_waits_for_time_or_is_ignored() {
    let mut faults = Vec::new();
    let tests = rust_files(Path::new("tests")).into_iter().map(read);
    for (path, text) in tests.chain(sources()) {
        for (number, line) in text.lines().enumerate() {
            let is_this_list = path.ends_with("tidy.rs");
            let waits = line.contains("thread::sleep") || line.contains("time::sleep(");
            let in_tests =
                number >= before_tests(&text).lines().count() || path.starts_with("tests");
            if !is_this_list && (line.contains("#[ignore") || (waits && in_tests)) {
                faults.push(format!(
                    "{}:{}: {}",
                    path.display(),
                    number + 1,
                    line.trim()
                ));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// The rooms that `crate::…` paths name, also inside nested `use crate::{…}`.
fn imports(text: &str) -> Vec<String> {
    let code: String = text
        .lines()
        .map(|line| line.split("//").next().unwrap_or(""))
        .collect::<Vec<_>>()
        .join("\n");
    let mut imports = Vec::new();
    for (position, _) in code.match_indices("crate::") {
        let rest = &code[position + "crate::".len()..];
        if let Some(list) = rest.strip_prefix('{') {
            imports.extend(top_level_names(list));
        } else {
            imports.push(name(rest));
        }
    }
    imports
}

fn top_level_names(list: &str) -> Vec<String> {
    let mut depth = 0;
    let mut names = Vec::new();
    let mut expects_name = true;
    for (position, character) in list.char_indices() {
        match character {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => expects_name = true,
            _ if expects_name && depth == 0 && character.is_alphabetic() => {
                names.push(name(&list[position..]));
                expects_name = false;
            }
            _ => {}
        }
    }
    names
}

fn name(text: &str) -> String {
    text.chars()
        .take_while(|character| character.is_alphanumeric() || *character == '_')
        .collect()
}

#[test]
fn imports_are_found_in_every_form() {
    let text = "use crate::{\n    event::{Batch, Labels}, plan::Plan,\n    gate\n};\nuse crate::reduce::x; // crate::cli";
    assert_eq!(imports(text), ["event", "plan", "gate", "reduce"]);
}

fn before_tests(text: &str) -> &str {
    text.find("#[cfg(test)]\nmod ")
        .map_or(text, |end| &text[..end])
}

fn room(path: &Path) -> String {
    let inside = path.strip_prefix("src").expect("sources stand in src");
    let first = inside
        .iter()
        .next()
        .and_then(|part| part.to_str())
        .unwrap_or("");
    first.trim_end_matches(".rs").to_owned()
}

fn sources() -> impl Iterator<Item = (PathBuf, String)> {
    let files = rust_files(Path::new("src"));
    assert!(
        files.len() > 30,
        "the sources are not where this test looks for them"
    );
    files.into_iter().map(read)
}

#[expect(clippy::disallowed_methods, reason = "a test that reads the sources")]
fn read(path: PathBuf) -> (PathBuf, String) {
    let text = fs::read_to_string(&path).expect("a source file is readable text");
    (path, text)
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).expect("the folder exists") {
        let path = entry.expect("the folder is readable").path();
        if path.is_dir() {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files.sort();
    files
}
