//! The console over made-up rows: for looking at it, and for the tests of how it treats its terminal.
//! With `FLUORO_DEMO_PANIC=collector` the source of rows panics after a few snapshots, with `draw` a row
//! panics while it is drawn. `FLUORO_DEMO_FILTER` and `FLUORO_DEMO_ASCII` stand for `-f` and `--ascii`.

#[path = "../tests/screens/rows.rs"]
mod rows;

use std::sync::Arc;
use std::time::Duration;

use fluoro::app::{Options, run};
use fluoro::columns::{Facts, Info, RowId, Sheet, Value, infos};
use fluoro::engine::Handle;
use fluoro::filter::{Filter, Keys};
use fluoro::model::{Coverage, Note, Query, View};
use rows::Scene;

/// A sheet with a row that cannot be read.
struct Broken(Arc<dyn Sheet>);

impl Sheet for Broken {
    fn infos(&self) -> &'static [Info] {
        self.0.infos()
    }

    fn len(&self) -> usize {
        self.0.len()
    }

    fn total(&self) -> usize {
        self.0.total()
    }

    fn value(&self, row: usize, column: usize) -> Value<'_> {
        self.0.value(row, column)
    }

    fn id(&self, row: usize) -> Option<RowId> {
        self.0.id(row)
    }

    fn ended(&self, row: usize) -> bool {
        self.0.ended(row)
    }

    fn row(&self, row: usize) -> Option<&dyn Facts> {
        assert!(row < 5, "a row found something impossible");
        self.0.row(row)
    }
}

fn scene(query: &Query, seq: u64) -> Scene {
    let mut scene = match query.view {
        View::Flows if query.filter.is_some() => Scene::of((0..3).map(rows::flow).collect(), 1204),
        View::Flows => {
            let rows = (0..1204).map(|n| {
                let mut flow = rows::flow(n);
                flow.rx = flow.rx.map(|rx| rx + ((seq * (n + 7)) % 1000) as f64);
                flow
            });
            Scene::of(rows.collect(), 1204)
        }
        View::Overview => rows::overview(&(0..12).map(rows::flow).collect::<Vec<_>>(), 12),
        View::Processes => Scene::of(rows::hostile(), 7),
        View::Probes => Scene::of(rows::probes(), 5),
        _ => Scene::of(Vec::<rows::Flow>::new(), 0),
    };
    scene.flows = 1204;
    if query.view == View::Probes {
        scene.coverage = Coverage::Degraded;
    }
    scene.notes = vec![Note {
        severe: false,
        text: "Accepted connections are named at the end of accept().".to_owned(),
    }];
    scene.own_hidden = 2;
    scene
}

fn main() {
    let (wake, woken) = std::sync::mpsc::sync_channel::<()>(1);
    let (handle, service) = Handle::pair(move || {
        let _ = wake.try_send(());
    });
    let panic = std::env::var("FLUORO_DEMO_PANIC").unwrap_or_default();
    std::thread::spawn(move || {
        let mut query = Query::default();
        for seq in 0.. {
            if service.stopping() {
                return;
            }
            if let Some(asked) = service.question() {
                query = asked;
            }
            assert!(!(panic == "collector" && seq > 3), "the collector found something impossible");
            let mut scene = scene(&query, if query.paused { 0 } else { seq });
            if panic == "draw" && seq > 3 {
                scene.sheet = Arc::new(Broken(scene.sheet));
            }
            service.publish(scene.answer(&query));
            let _ = woken.recv_timeout(Duration::from_secs(1));
        }
    });
    let filter = std::env::var("FLUORO_DEMO_FILTER").ok().map(|text| {
        let filter = Filter::parse(&text, &Keys::of(infos::<rows::Flow>()));
        (text, Arc::new(filter.unwrap_or_else(|error| panic!("{error}"))))
    });
    let ascii = std::env::var_os("FLUORO_DEMO_ASCII").is_some();
    let options = Options { mouse: true, view: View::Flows, filter, ascii, ..Options::default() };
    if let Err(error) = run(handle, options) {
        eprintln!("fluoro: {error}");
        std::process::exit(1);
    }
}
