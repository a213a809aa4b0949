//! `fluoro`: the console.

use std::io::IsTerminal;
use std::process::ExitCode;
use std::sync::Arc;

use super::config::{Config, Place, keep_columns};
use super::run::{CANNOT, FINE, Stage, USAGE, fail, prepare};
use super::{Cli, Colour};
use crate::app;
use crate::columns::infos;
use crate::engine;
use crate::families::flow::model::FlowRow;
use crate::filter::{Filter, FilterError, Keys};
use crate::model::{HostFacts, View};
use crate::theme::ColorChoice;

pub fn run(cli: &Cli) -> ExitCode {
    let config = match load(&cli.console) {
        Ok(config) => config,
        Err(error) => return fail(USAGE, &error),
    };
    let (config, place) = config;
    let filter = match first_filter(cli.console.filter.as_deref()) {
        Ok(filter) => filter,
        Err(error) => return fail(USAGE, &error.to_string()),
    };
    if !std::io::stdout().is_terminal() || !std::io::stdin().is_terminal() {
        return fail(
            USAGE,
            "the console needs a terminal; without one use `fluoro observe` (events) or `fluoro top flows` (tables)",
        );
    }
    if let Err(error) = app::check_terminal() {
        return fail(USAGE, &error.to_string());
    }
    let Stage { facts, ground, world } = prepare(&cli.common);
    if let Some(reason) = &ground.refusals.privilege {
        return fail(CANNOT, reason);
    }
    let host = HostFacts { name: facts.host.clone(), kernel: facts.release.clone(), cpus: facts.online_cpus };
    // A filter from the command line is one of the flows.
    let view = if filter.is_some() { View::Flows } else { config.view };
    let (handle, collector) = match engine::start(ground, world, host, config.history_mib << 20, view) {
        Ok(started) => started,
        Err(error) => return fail(CANNOT, &format!("cannot start: {error}")),
    };
    let options = app::Options {
        color: match cli.console.color {
            Colour::Auto => ColorChoice::Auto,
            Colour::Always => ColorChoice::Always,
            Colour::Never => ColorChoice::Never,
        },
        mouse: config.mouse && !cli.console.no_mouse,
        ascii: config.ascii || cli.console.ascii,
        theme: config.theme,
        keys: config.actions().ok(),
        keep_columns: app::Keep(Arc::new(move |view, ids| match &place {
            Some(place) => keep_columns(place, view, ids),
            None => Ok(()),
        })),
        view,
        columns: config.columns,
        filter,
        ..app::Options::default()
    };
    let ended = app::run(handle, options);
    // Detaching is quick; a kernel that makes it slow must not keep the terminal's owner waiting.
    let deadline = std::time::Instant::now() + std::time::Duration::from_millis(700);
    while !collector.is_finished() && std::time::Instant::now() < deadline {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    match ended {
        Ok(()) => ExitCode::from(FINE),
        Err(error) => fail(CANNOT, &error.to_string()),
    }
}

/// The configuration, and where columns are kept.
fn load(options: &super::Console) -> Result<(Config, Option<Place>), String> {
    let place = match options.config.as_deref() {
        Some(path) if path.as_os_str() == "none" => None,
        Some(path) => Some(Place::at(path.to_owned())),
        None => Place::find(|name| std::env::var(name).ok(), std::path::Path::new("/")),
    };
    let Some(place) = place else { return Ok((Config::default(), None)) };
    let text = place.read()?;
    if text.is_none() && options.config.is_some() {
        return Err(format!("{}: there is no such file", place.path().display()));
    }
    let config = Config::parse(&text.unwrap_or_default());
    Ok((config.map_err(|error| format!("{}: {error}", place.path().display()))?, Some(place)))
}

/// `-f` belongs to the view that opens first, Flows, and may use its keys. Empty is none.
fn first_filter(text: Option<&str>) -> Result<Option<(String, Arc<Filter>)>, FilterError> {
    let Some(text) = text.filter(|text| !text.trim().is_empty()) else { return Ok(None) };
    let filter = Filter::parse(text, &Keys::of(infos::<FlowRow>()))?;
    Ok(Some((text.trim().to_owned(), Arc::new(filter))))
}
