//! A reader that goes away ends fluoro quietly.

use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::ExitStatusExt;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result};

use super::checks::Checks;
use super::{Place, run};
use crate::workload::actor::Actor;

pub fn play(place: &Place, checks: &mut Checks) -> Result<()> {
    for output in ["json", "table"] {
        let mut child = run::fluoro(place, &["observe", "process", "-o", output])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("start fluoro")?;
        let mut errors = BufReader::new(child.stderr.take().context("no stderr")?);
        let mut ready = String::new();
        errors.read_line(&mut ready).context("read stderr")?;
        checks.equal(
            format!("-o {output}: says that it observes"),
            "fluoro: observing process",
            ready.trim_end(),
        );

        let mut spawner = Actor::start(&place.xtask, &["spawner", "1000000", "self"])?;
        spawner.tell("go")?;
        let mut reader = BufReader::new(child.stdout.take().context("no stdout")?);
        let mut line = String::new();
        reader.read_line(&mut line).context("read a line")?;
        drop(reader);

        let ended = run::await_end(&mut child, place.patience(5), || ())?;
        drop(spawner);
        let Some((status, took)) = ended else {
            let _ = child.kill();
            let _ = child.wait();
            checks.that(format!("-o {output}: ends without a reader"), "within 5 s", "still there", false);
            continue;
        };
        checks.that(
            format!("-o {output}: ends without a reader"),
            "0, or by SIGPIPE",
            run::ending(status.code(), status.signal()),
            status.code() == Some(0) || status.code() == Some(141) || status.signal() == Some(libc::SIGPIPE),
        );
        checks.that(
            format!("-o {output}: time it took"),
            "at most 2 s",
            format!("{took:.1?}"),
            took < Duration::from_secs(if place.guest.is_some() { 5 } else { 2 }),
        );
        let mut rest = String::new();
        errors.read_to_string(&mut rest).context("read stderr")?;
        let complaints: Vec<String> = rest
            .lines()
            .filter(|line| line.contains("panic") || line.contains("ipe"))
            .map(ToOwned::to_owned)
            .collect();
        checks.none(format!("-o {output}: complaints on stderr"), &complaints);
    }
    Ok(())
}
