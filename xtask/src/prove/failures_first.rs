//! Connections that never come about: one flow.fail each, with the error that the program was told, and neither an
//! open nor a close.

use anyhow::{Context, Result};
use serde_json::Value;

use super::Place;
use super::checks::Checks;
use super::event::Event;
use super::observer::{Keep, Observer};
use crate::workload::actor::Actor;

struct Attempt {
    local_port: u16,
    peer_port: u16,
    error: String,
}

pub fn play(place: &Place, checks: &mut Checks) -> Result<()> {
    let refused = place.scaled(200, 20).to_string();
    let mut actor = Actor::start(&place.xtask, &["connect-failing", &refused, "4", "10"])?;
    actor.hear(place.patience(10))?;
    let pid = actor.pid();
    let watch = Observer::start(place, &["flow"], &[], Keep::Events)?;
    actor.tell("go")?;
    let account = actor.conclusion(place.patience(40))?;
    let observed = watch.finish()?;
    observed.check_books(checks, &["flow"])?;
    checks.equal("lost", 0, observed.books("flow")?.lost);

    let attempts = attempts(&account)?;
    let (mut failed, mut wrong, mut not_once, mut others) = (0, Vec::new(), Vec::new(), Vec::new());
    for attempt in &attempts {
        let ours = |event: &&Event| {
            event.local_port() == attempt.local_port && event.peer_port() == attempt.peer_port
        };
        let events: Vec<&Event> = observed.events.iter().filter(ours).collect();
        let expected = format!("{}→{} {}", attempt.local_port, attempt.peer_port, attempt.error);
        let fails: Vec<&Event> = events.iter().copied().filter(|event| event.name == "flow.fail").collect();
        // A local port may come round again.
        let same =
            |other: &&Attempt| other.local_port == attempt.local_port && other.peer_port == attempt.peer_port;
        let attempted = attempts.iter().filter(same).count();
        if fails.len() == attempted {
            failed += 1;
        } else {
            not_once.push(format!("{expected}: {} times", fails.len()));
        }
        for fail in fails {
            if fail.error.as_deref() != Some(&attempt.error)
                || fail.pid != Some(pid)
                || fail.direction.as_deref() != Some("outbound")
                || fail.attribution.as_deref() != Some("exact")
            {
                wrong.push(format!("{expected} by {pid}: {}", fail.brief()));
            }
        }
        // The side that would accept has the ports the other way round: it must not show anything either.
        let mirrored = |event: &&Event| {
            event.local_port() == attempt.peer_port && event.peer_port() == attempt.local_port
        };
        // A SYN that nobody answers is sent again.
        let strays = events
            .iter()
            .copied()
            .filter(|event| !["flow.fail", "flow.retransmit"].contains(&event.name.as_str()));
        others.extend(
            strays
                .chain(observed.events.iter().filter(mirrored))
                .map(|e| format!("{expected}: {}", e.brief())),
        );
    }
    checks.equal("attempts with a flow.fail each", attempts.len(), failed);
    checks.none("attempts without exactly one flow.fail", &not_once);
    checks.none("wrong error.type, process, direction or attribution", &wrong);
    checks.none("opens, closes or anything else of failed attempts", &others);
    for error in ["ECONNREFUSED", "ETIMEDOUT", "ECANCELED"] {
        let expected = attempts.iter().filter(|attempt| attempt.error == error).count();
        let told = observed
            .events
            .iter()
            .filter(|event| {
                event.name == "flow.fail" && event.pid == Some(pid) && event.error.as_deref() == Some(error)
            })
            // The full queue's own last connection is cancelled, too, at the end of the workload.
            .filter(|event| attempts.iter().any(|attempt| attempt.local_port == event.local_port()))
            .count();
        checks.equal(error, expected, told);
    }
    Ok(())
}

fn attempts(account: &Value) -> Result<Vec<Attempt>> {
    let attempts = account.get("attempts").and_then(Value::as_array).context("no attempts")?;
    attempts
        .iter()
        .map(|attempt| {
            let port = |key| attempt.get(key)?.as_u64()?.try_into().ok();
            Some(Attempt {
                local_port: port("local_port")?,
                peer_port: port("peer_port")?,
                error: attempt.get("error")?.as_str()?.to_owned(),
            })
        })
        .collect::<Option<_>>()
        .context("an attempt without ports or error")
}
