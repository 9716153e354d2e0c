//! `sluice completions` and `sluice man`: what shells and `man` read.

use clap::{Args, Command};
use clap_complete::Shell;

use super::{exit, print};

/// Arguments of `sluice completions`.
#[derive(Debug, Args)]
pub(super) struct CompletionsArguments {
    /// The shell that is to complete commands
    shell: Shell,
}

/// Arguments of `sluice man`.
#[derive(Debug, Args)]
pub(super) struct ManArguments {
    /// The command that the page is about, such as: deploy begin
    #[arg(value_name = "COMMAND")]
    path: Vec<String>,
}

/// Prints what a shell is to source.
pub(super) fn completions(arguments: &CompletionsArguments, mut command: Command) -> u8 {
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut command, "sluice", &mut script);
    put(&script)
}

/// Prints a manual page.
pub(super) fn man(arguments: &ManArguments, mut command: Command) -> u8 {
    command.build();
    let mut page = &command;
    for name in &arguments.path {
        let Some(inner) = page.find_subcommand(name) else {
            print::error(&format!(
                "{} has no command {name:?}: see {} --help",
                page.get_name(),
                page.get_bin_name().unwrap_or("sluice")
            ));
            return exit::ERROR;
        };
        page = inner;
    }
    let mut text = Vec::new();
    let written = clap_mangen::Man::new(page.clone()).render(&mut text);
    written.expect("a text in memory takes what is written");
    put(&text)
}

fn put(text: &[u8]) -> u8 {
    let text = String::from_utf8_lossy(text);
    print::answered(print::answer(&text), exit::PASS)
}
