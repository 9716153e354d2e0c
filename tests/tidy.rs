//! Holds what a compiler cannot: which room imports which, the size of files, and where pages lead.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// The rooms in the order of the path of a data point, and what each may import. A new arrow is
/// decided here.
const ROOMS: [(&str, &[&str]); 14] = [
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
    // Pages for people: nothing is imported there, nor from there.
    ("guide", &[]),
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

/// The front page stays one that is read to its end: what is longer belongs into the guide.
const LINES_OF_FRONT_PAGE_MAX: usize = 350;

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

#[test]
fn the_front_page_is_short_and_lists_the_guide() {
    let (_, front) = read(PathBuf::from("README.md"));
    let (_, shown) = read(PathBuf::from("src/guide/mod.rs"));
    let mut faults = Vec::new();
    let lines = front.lines().count();
    if lines > LINES_OF_FRONT_PAGE_MAX {
        faults.push(format!("README.md: {lines} lines"));
    }
    for (path, page) in pages_of_the_guide() {
        let file = path.file_name().expect("a page has a name").display();
        if !front.contains(&format!("](src/guide/{file})")) {
            faults.push(format!("README.md does not list {file}"));
        }
        if !shown.contains(&format!("page!(\"{file}\")")) {
            faults.push(format!("src/guide/mod.rs does not show {file}"));
        }
        // The crate's documentation leads to modules where the page leads to files.
        for (label, target) in definitions(&page) {
            let (file, heading) = target.split_once('#').unwrap_or((target, ""));
            let Some(name) = file.strip_suffix(".md").filter(|_| !file.contains('/')) else {
                continue;
            };
            let mark = if heading.is_empty() { "" } else { "#" };
            let line = format!("\"[{label}]: crate::guide::{name}{mark}{heading}\\n\"");
            if !shown.contains(&line) {
                faults.push(format!("src/guide/mod.rs lacks {line}"));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn links_of_pages_lead_somewhere() {
    let mut faults = Vec::new();
    let tops = ["README.md", "CHANGELOG.md"].map(PathBuf::from).map(read);
    let recordings = files(Path::new("fixtures"), "md").into_iter().map(read);
    for (path, page) in tops
        .into_iter()
        .chain(recordings)
        .chain(pages_of_the_guide())
    {
        let folder = path.parent().expect("a page stands in a folder");
        for target in links(&page) {
            let (file, heading) = target.split_once('#').unwrap_or((target, ""));
            let led_to = if file.is_empty() {
                path.clone()
            } else {
                folder.join(file)
            };
            let is_there = led_to.exists()
                && (heading.is_empty() || headings(&read(led_to).1).contains(&heading.to_owned()));
            if !is_there && !target.starts_with("http") {
                faults.push(format!("{}: {target}", path.display()));
            }
        }
        for label in references(&page) {
            if !definitions(&page).any(|(known, _)| known == label) {
                faults.push(format!("{}: [{label}] leads nowhere", path.display()));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

fn pages_of_the_guide() -> impl Iterator<Item = (PathBuf, String)> {
    let files = files(Path::new("src/guide"), "md");
    assert!(
        files.len() > 10,
        "the guide is not where this test looks for it"
    );
    files.into_iter().map(read)
}

/// The lines of a page outside of its blocks of code.
fn prose(page: &str) -> impl Iterator<Item = &str> {
    let mut is_code = false;
    page.lines().filter(move |line| {
        let is_fence = line.starts_with("```");
        is_code ^= is_fence;
        !is_code && !is_fence
    })
}

/// What `[label]: target` defines.
fn definitions(page: &str) -> impl Iterator<Item = (&str, &str)> {
    prose(page).filter_map(|line| line.strip_prefix('[')?.split_once("]: "))
}

/// Where `[text](target)` and `[label]: target` lead.
fn links(page: &str) -> impl Iterator<Item = &str> {
    let inline = prose(page).flat_map(|line| line.split("](").skip(1));
    let inline = inline.filter_map(|rest| Some(rest.split_once(')')?.0));
    inline.chain(definitions(page).map(|(_, target)| target))
}

/// The labels of `[text][label]`.
fn references(page: &str) -> impl Iterator<Item = &str> {
    let after = prose(page).flat_map(|line| line.split("][").skip(1));
    after.filter_map(|rest| Some(rest.split_once(']')?.0))
}

/// The headings of a page as links name them.
fn headings(page: &str) -> Vec<String> {
    let lines = prose(page).filter(|line| line.starts_with('#'));
    let texts = lines.map(|line| line.trim_start_matches('#').trim());
    let name = |text: &str| -> String {
        let kept = text
            .chars()
            .filter(|letter| letter.is_alphanumeric() || " -_".contains(*letter));
        kept.collect::<String>().to_lowercase().replace(' ', "-")
    };
    texts.map(name).collect()
}

#[test]
fn links_are_found_in_every_form() {
    let page = "# A page: of 2\n[a](b.md#c) and [d][e]\n```\n[f](g)\n```\n\n[e]: h.md\n";
    assert_eq!(links(page).collect::<Vec<_>>(), ["b.md#c", "h.md"]);
    assert_eq!(references(page).collect::<Vec<_>>(), ["e"]);
    assert_eq!(headings(page), ["a-page-of-2"]);
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
    files(folder, "rs")
}

/// All files with this extension in a folder and those within it, sorted.
fn files(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("the folder exists") {
        let path = entry.expect("the folder is readable").path();
        if path.is_dir() {
            found.extend(files(&path, extension));
        } else if path.extension().is_some_and(|known| known == extension) {
            found.push(path);
        }
    }
    found.sort();
    found
}
