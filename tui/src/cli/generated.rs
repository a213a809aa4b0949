//! What is made of the tables and the arguments: completions, the manual page, the default configuration.

use std::process::ExitCode;

use clap::CommandFactory;

use super::config::{Config, Place};
use super::run::{self, CANNOT, FINE, fail};
use super::{Cli, Configuration};
use crate::app::{Mode, actions};

fn print(bytes: &[u8]) -> ExitCode {
    match run::print(&mut std::io::stdout().lock(), bytes) {
        Ok(_) => ExitCode::from(FINE),
        Err(error) => fail(CANNOT, &format!("cannot write the output: {error}")),
    }
}

/// Prints the default, or says where the configuration is and whether it is good.
pub fn config(options: &Configuration) -> ExitCode {
    if options.print_default {
        return print(Config::default_text().as_bytes());
    }
    let Some(place) = Place::find(|name| std::env::var(name).ok(), std::path::Path::new("/")) else {
        return fail(CANNOT, "no home folder is known: neither XDG_CONFIG_HOME nor HOME is set");
    };
    match place.read().and_then(|text| text.map(|text| Config::parse(&text)).transpose()) {
        Ok(found) => {
            let state = if found.is_some() { "is good" } else { "is not there; the defaults hold" };
            print(format!("{} {state}\n", place.path().display()).as_bytes())
        }
        Err(error) => fail(CANNOT, &format!("{}: {error}", place.path().display())),
    }
}

pub fn completions(shell: clap_complete::Shell) -> ExitCode {
    let mut script = vec![];
    clap_complete::generate(shell, &mut Cli::command(), "fluoro", &mut script);
    print(&script)
}

/// The manual page: every command with its options, then the keys of the console.
pub fn manual() -> ExitCode {
    manual_text()
        .map_or_else(|error| fail(CANNOT, &format!("cannot make the page: {error}")), |page| print(&page))
}

fn manual_text() -> std::io::Result<Vec<u8>> {
    let mut command = Cli::command().version(env!("CARGO_PKG_VERSION"));
    command.build();
    let mut page = vec![];
    let manual = clap_mangen::Man::new(command.clone());
    manual.render_title(&mut page)?;
    manual.render_name_section(&mut page)?;
    manual.render_synopsis_section(&mut page)?;
    manual.render_description_section(&mut page)?;
    manual.render_options_section(&mut page)?;
    for sub in command.get_subcommands().filter(|sub| sub.get_name() != "help") {
        page.extend_from_slice(format!(".SH \"FLUORO {}\"\n", sub.get_name().to_uppercase()).as_bytes());
        let manual = clap_mangen::Man::new(sub.clone());
        let mut section = vec![];
        manual.render_description_section(&mut section)?;
        manual.render_options_section(&mut section)?;
        // Sections of a command's own page are parts of a section here.
        page.extend_from_slice(String::from_utf8_lossy(&section).replace(".SH ", ".SS ").as_bytes());
    }
    page.extend_from_slice(b".SH KEYS\n");
    for mode in Mode::ALL {
        page.extend_from_slice(format!(".SS \"{}\"\n", mode.title()).as_bytes());
        for action in actions().iter().filter(|action| action.mode == mode) {
            let keys = action.keys_shown().replace('\\', "\\e");
            page.extend_from_slice(format!(".TP\n\\&{keys}\n{}\n", action.help).as_bytes());
        }
    }
    page.extend_from_slice(
        b".SH FILES\n.TP\n$XDG_CONFIG_HOME/fluoro/config.toml\nThe configuration; under sudo that of the invoking user.\n",
    );
    Ok(page)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_manual_has_every_command_and_every_key() {
        let page = String::from_utf8(manual_text().unwrap()).unwrap();
        for part in ["FLUORO OBSERVE", "FLUORO TOP", "fail\\-on\\-loss", ".SH KEYS", "Freeze the picture"] {
            assert!(page.contains(part), "{part}");
        }
    }
}
