//! Wrong usage is refused before anything else is looked at: exit 2, and the message points at the character.
#![allow(clippy::unwrap_used)]

use std::process::{Command, Stdio};

/// Exit code and standard error, without a terminal.
fn fluoro(arguments: &[&str]) -> (Option<i32>, String) {
    let done =
        Command::new(env!("CARGO_BIN_EXE_fluoro")).args(arguments).stdin(Stdio::null()).output().unwrap();
    (done.status.code(), String::from_utf8(done.stderr).unwrap())
}

#[test]
fn a_filter_that_does_not_parse_is_pointed_at_by_every_command() {
    for command in [&["-f", "prt:443"][..], &["observe", "-f", "prt:443"], &["top", "flows", "-f", "prt:443"]]
    {
        let (code, said) = fluoro(command);
        assert_eq!(code, Some(2), "{command:?}: {said}");
        assert!(said.contains("did you mean port?\n  prt:443\n  ^^^"), "{command:?}: {said}");
    }
}

#[test]
fn the_console_without_a_terminal_names_the_commands_that_need_none() {
    for arguments in [&[][..], &["-f", "port:443"]] {
        let (code, said) = fluoro(arguments);
        assert_eq!(code, Some(2), "{said}");
        assert!(said.contains("fluoro observe") && said.contains("fluoro top"), "{said}");
    }
}
