//! A machine at work: programs under names of their own that do what the questions are about.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::prove::Place;
use crate::workload::actor::Actor;

const LIMIT: Duration = Duration::from_secs(20);

/// A program, as the console names it: `backup(4242)`.
pub struct Program {
    pub name: String,
    /// It lives as long.
    actor: Actor,
}

pub struct Load {
    /// Sends ten megabytes a second to itself, over one connection between these ports.
    pub backup: Program,
    pub sender: u64,
    pub receiver: u64,
    /// Waits for `stock.pipe` in each request.
    pub shop: Program,
    /// Is refused fifty times a second.
    pub agent: Program,
    /// Starts `migrate` four times a second.
    pub deploy: Program,
    /// Reads /etc/passwd.
    pub reader: Program,
    _ground: Ground,
}

/// Folders that are gone afterwards.
struct Ground {
    bin: PathBuf,
    work: PathBuf,
    /// Made for this.
    own: Option<PathBuf>,
}

impl Drop for Ground {
    fn drop(&mut self) {
        if let Some(own) = &self.own {
            let _ = fs::remove_dir_all(own);
        }
    }
}

impl Ground {
    /// A guest is nobody's: the names there are those of a server.
    fn new(place: &Place) -> Result<Self> {
        let (bin, work, own) = if place.guest.is_some() {
            (PathBuf::from("/usr/bin"), PathBuf::from("/srv"), None)
        } else {
            let own = std::env::temp_dir().join(format!("fluoro-{}", std::process::id()));
            (own.join("bin"), own.join("srv"), Some(own))
        };
        for folder in [&bin, &work] {
            fs::create_dir_all(folder).with_context(|| format!("create {}", folder.display()))?;
        }
        Ok(Self { bin, work, own })
    }

    /// This program under another name.
    fn named(&self, place: &Place, name: &str) -> Result<PathBuf> {
        let path = self.bin.join(name);
        if path.exists() {
            return Ok(path);
        }
        if place.guest.is_some() {
            fs::hard_link(&place.xtask, &path)
        } else {
            std::os::unix::fs::symlink(&place.xtask, &path)
        }
        .with_context(|| format!("make {}", path.display()))?;
        Ok(path)
    }

    fn start(&self, place: &Place, name: &str, args: &[&str]) -> Result<(Program, Value)> {
        let actor = Actor::start(&self.named(place, name)?, args)?;
        let told = actor.hear(LIMIT)?;
        Ok((Program { name: format!("{name}({})", actor.pid()), actor }, told))
    }

    fn path(&self, name: &str) -> Result<String> {
        text(&self.work.join(name))
    }
}

fn text(path: &Path) -> Result<String> {
    path.to_str().map(str::to_owned).with_context(|| format!("{} is no text", path.display()))
}

impl Load {
    /// Call it on a thread that lives as long: programs die with the thread that started them.
    pub fn start(place: &Place) -> Result<Self> {
        let ground = Ground::new(place)?;
        let migrate = text(&ground.named(place, "migrate")?)?;
        let (mut backup, told) = ground.start(place, "backup", &["steady", "500000", "50", "1000000"])?;
        backup.actor.tell("go")?;
        let port = |name: &str| told.get(name).and_then(Value::as_u64).with_context(|| format!("no {name}"));
        let (sender, receiver) = (port("sender_port")?, port("receiver_port")?);
        let (shop, _) = ground.start(place, "shop", &["service", &ground.path("shop")?, "40"])?;
        let (agent, _) = ground.start(place, "agent", &["refused", "20"])?;
        let (mut deploy, _) = ground.start(place, "deploy", &["errands", &ground.path("deploy")?, "250"])?;
        deploy.actor.tell(&migrate)?;
        let (reader, _) = ground.start(place, "cfgwatch", &["reads", "/etc/passwd", "100"])?;
        Ok(Self { backup, sender, receiver, shop, agent, deploy, reader, _ground: ground })
    }
}
