//! All that the console remembers. Plain values: no terminal, no channel, no clock but the one it is told.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use crate::app::actions::{Action, Mode, actions};
use crate::app::chord::Chord;
use crate::app::editor::Editor;
use crate::app::layout::Layout;
use crate::columns::{Facts, Info, RowId, Sheet};
use crate::families::Family;
use crate::families::file::row::group::By;
use crate::filter::Filter;
use crate::model::{Note, Query, Scope, Snapshot, Sort, View};
use crate::records::WallTime;
use crate::views::{self, Grid, face};

/// Without a snapshot for this long the screen says that it is old.
const STALE: Duration = Duration::from_secs(5);
/// How long a passing remark stays.
const REMARK: Duration = Duration::from_secs(4);

/// What lies over the table and gets the keys first.
#[derive(Debug, Clone)]
pub enum Layer {
    Details { scroll: usize },
    Filter(FilterEdit),
    Palette { editor: Editor, chosen: usize },
    Menu { title: &'static str, entries: Vec<Choice>, chosen: usize },
    Columns { columns: Vec<(&'static Info, bool)>, chosen: usize },
    Help { scroll: usize },
}

/// One entry of a menu.
#[derive(Debug, Clone)]
pub struct Choice {
    pub title: &'static str,
    pub text: String,
    pub does: Chosen,
}

/// What an entry of a menu does.
#[derive(Debug, Clone)]
pub enum Chosen {
    Scope(Scope),
    Copy(String),
}

/// A filter being typed.
#[derive(Debug, Clone)]
pub struct FilterEdit {
    pub editor: Editor,
    /// What Esc restores.
    pub before: (String, Option<Arc<Filter>>),
    /// Which of the earlier filters is looked at, counted from the newest.
    pub recalled: Option<usize>,
    /// Why the text does not parse, and where.
    pub error: Option<(Range<usize>, String)>,
}

/// Where the reader is in one view.
#[derive(Debug, Clone, Default)]
pub struct Place {
    pub sort: Option<Sort>,
    pub filter_text: String,
    pub filter: Option<Arc<Filter>>,
    pub selected: Option<Selected>,
    pub offset: usize,
    /// The row at the top of the screen.
    top: Option<Selected>,
    /// The view's columns, known since its first snapshot.
    pub infos: &'static [Info],
}

/// The row under the marker: who it is, and where it was last seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Selected {
    pub id: RowId,
    pub index: usize,
}

/// What is asked for beside the rows of the view.
#[derive(Debug, Clone, Default, PartialEq)]
struct Wanted {
    /// Whose details are open.
    subject: Option<Scope>,
    /// Rows that a panel has room for.
    room: usize,
    /// The row whose details are open, where the engine knows more of it than its columns say.
    open: Option<RowId>,
    /// The rows on the screen, where the engine looks more up for them.
    sight: (usize, usize),
}

/// The console.
#[expect(
    clippy::struct_excessive_bools,
    reason = "independent switches, not one mode: the modes are `layers`"
)]
pub struct State {
    pub now: Duration,
    pub size: (u16, u16),
    pub view: View,
    pub layers: Vec<Layer>,
    /// The newest snapshot, whichever view it answers.
    pub newest: Option<Arc<Snapshot>>,
    /// All of them apply; the last was set last.
    pub scopes: Vec<Scope>,
    pub paused: bool,
    /// When the frozen picture was taken.
    pub frozen_at: Option<WallTime>,
    /// Its number.
    pub moment: Option<u64>,
    /// The reader's columns, by view.
    pub columns: HashMap<View, Vec<String>>,
    /// Filters that were kept, the newest last.
    pub filters: Vec<String>,
    pub keys: &'static [Action],
    pub own: bool,
    pub by_owner: bool,
    pub files_by: Option<By>,
    /// Peers are called by the names that were observed.
    pub names: bool,
    /// Families that the reader attached or detached, whatever views need.
    pub hand: BTreeMap<Family, bool>,
    /// The family that the reader wants tried again, and how often anything was.
    pub again: Option<(Family, u64)>,
    pub mouse: bool,
    /// Keys about rows that have not come yet.
    pub(super) ahead: Vec<Chord>,
    /// Something to draw.
    pub dirty: bool,
    places: HashMap<View, Place>,
    serial: u64,
    /// Of the question that stands.
    asked: Wanted,
    heard: Duration,
    stale: bool,
    remark: Option<(String, Duration)>,
    /// The last press of the button: when, and on which row.
    pub(super) press: Option<(Duration, RowId)>,
}

impl State {
    pub fn new(size: (u16, u16), view: View, mouse: bool) -> Self {
        Self {
            now: Duration::ZERO,
            size,
            view,
            layers: vec![],
            newest: None,
            scopes: vec![],
            paused: false,
            frozen_at: None,
            moment: None,
            columns: HashMap::new(),
            filters: vec![],
            keys: actions(),
            own: false,
            by_owner: false,
            files_by: None,
            names: true,
            hand: BTreeMap::new(),
            again: None,
            mouse,
            ahead: vec![],
            dirty: true,
            places: HashMap::new(),
            serial: 0,
            asked: Wanted::default(),
            heard: Duration::ZERO,
            stale: false,
            remark: None,
            press: None,
        }
    }

    /// The snapshot, if it answers the view in front.
    pub fn snapshot(&self) -> Option<&Arc<Snapshot>> {
        self.newest.as_ref().filter(|s| s.query.view == self.view)
    }

    pub fn place(&self) -> Place {
        self.places.get(&self.view).cloned().unwrap_or_default()
    }

    pub fn place_mut(&mut self) -> &mut Place {
        self.places.entry(self.view).or_default()
    }

    /// The order of the rows, as the reader chose it or as the view begins.
    pub fn order(&self) -> Option<Sort> {
        let place = self.place();
        views::order(self.view, place.sort, place.infos)
    }

    pub fn layout(&self) -> Layout {
        Layout::of(self.size, !self.notes().is_empty(), self.details().is_some())
    }

    /// Scroll position of the details pane, if it is open.
    pub fn details(&self) -> Option<usize> {
        self.layers.iter().find_map(|layer| match layer {
            Layer::Details { scroll } => Some(*scroll),
            _ => None,
        })
    }

    /// The modes that apply, the one on top first.
    pub fn modes(&self) -> &'static [Mode] {
        match self.layers.last() {
            None => &[Mode::Table, Mode::Always],
            Some(Layer::Details { .. }) => &[Mode::Details, Mode::Table, Mode::Always],
            Some(Layer::Filter(_)) => &[Mode::Filter, Mode::Typing, Mode::Always],
            Some(Layer::Palette { .. }) => &[Mode::Palette, Mode::Typing, Mode::Always],
            Some(Layer::Menu { .. }) => &[Mode::Menu, Mode::Always],
            Some(Layer::Columns { .. }) => &[Mode::Columns, Mode::Always],
            Some(Layer::Help { .. }) => &[Mode::Help, Mode::Always],
        }
    }

    /// What must be said beside the table, the gravest first.
    pub fn notes(&self) -> Vec<Note> {
        if self.stale {
            let secs = STALE.as_secs();
            let text = format!("No news from the engine for more than {secs} s: these numbers are old.");
            return vec![Note { severe: true, text }];
        }
        if let Some((text, _)) = &self.remark {
            return vec![Note { severe: false, text: text.clone() }];
        }
        self.newest.as_ref().map_or_else(Vec::new, |newest| newest.notes.to_vec())
    }

    pub fn remark(&mut self, text: &str) {
        self.remark = Some((text.to_owned(), self.now + REMARK));
        self.dirty = true;
    }

    /// What was said of something that is over.
    pub fn unsay(&mut self) {
        self.remark = None;
    }

    /// The question that this state stands for, under a new serial number.
    pub fn question(&mut self) -> Query {
        self.serial += 1;
        self.asked = self.wanted();
        let Wanted { subject, room, open, sight } = self.asked.clone();
        let place = self.place();
        Query {
            view: self.view,
            serial: self.serial,
            filter: place.filter,
            sort: place.sort,
            scopes: self.scopes.clone().into(),
            subject,
            room,
            paused: self.paused,
            moment: self.moment.filter(|_| self.paused),
            open,
            by_owner: self.by_owner,
            files_by: self.files_by,
            sight,
            own: self.own,
            hand: self.hand.clone(),
            again: self.again,
        }
    }

    fn wanted(&self) -> Wanted {
        let details = self.details().is_some();
        let subject = self.row().filter(|_| details).and_then(|row| Scope::offers(row).into_iter().next());
        let layout = self.layout();
        Wanted {
            subject,
            room: if self.view == View::Overview { Grid::of(layout.table).room } else { 0 },
            open: self.place().selected.filter(|_| details && self.view.has_more()).map(|row| row.id),
            sight: match self.view {
                View::Processes => (self.place().offset, usize::from(layout.rows.height)),
                _ => (0, 0),
            },
        }
    }

    /// The question that stands asks for other things beside the table than are wanted now.
    pub fn wants_more(&self) -> bool {
        self.newest.is_some() && self.wanted() != self.asked
    }

    /// The view in front has been asked for, and its rows are on their way.
    pub fn awaits_rows(&self) -> bool {
        self.snapshot().is_none()
    }

    /// The row under the marker.
    pub fn row(&self) -> Option<&dyn Facts> {
        let index = self.places.get(&self.view)?.selected?.index;
        self.snapshot()?.sheet.row(index)
    }

    /// What a row of the table in front is, and what several are.
    pub fn nouns(&self) -> (&'static str, &'static str) {
        match (self.view, self.files_by) {
            (View::Processes, _) if self.by_owner => ("owner", "owners"),
            (View::Files, Some(by)) => by.nouns(),
            _ => face(self.view).nouns,
        }
    }

    /// The columns of the view in front, if the reader has chosen: of processes, not of owners.
    pub fn chosen_columns(&self) -> Option<&[String]> {
        let grouped = self.by_owner && self.view == View::Processes;
        self.columns.get(&self.view).filter(|_| !grouped).map(Vec::as_slice)
    }

    /// Takes a snapshot in.
    pub fn hear(&mut self, snapshot: Arc<Snapshot>) {
        self.heard = self.now;
        self.stale = false;
        self.dirty = true;
        let place = self.places.entry(snapshot.query.view).or_default();
        place.infos = snapshot.sheet.infos();
        // An answer to an older question would pull the reader back to the moment before.
        if self.paused && snapshot.query.paused && snapshot.query.serial == self.serial {
            self.frozen_at = Some(snapshot.offset.wall(snapshot.taken));
            self.moment = Some(snapshot.reach.moment);
        }
        self.newest = Some(snapshot);
        self.settle();
    }

    /// Lets time pass: remarks go, silence is noticed. Dirties the picture only if it changes.
    pub fn pass(&mut self, now: Duration) {
        self.now = now;
        if self.remark.as_ref().is_some_and(|(_, until)| now >= *until) {
            self.remark = None;
            self.dirty = true;
        }
        let stale = self.newest.is_some() && now.saturating_sub(self.heard) > STALE;
        if stale != self.stale {
            self.stale = stale;
            self.dirty = true;
        }
    }

    /// The process was stopped: silence meanwhile is nobody's fault.
    pub const fn resumed(&mut self) {
        self.heard = self.now;
    }

    /// Brings selection and scroll position in line with the rows and the size of the screen.
    pub fn settle(&mut self) {
        // The overview shows every row of its sheet: nothing scrolls.
        let height = match self.view {
            View::Overview => usize::MAX,
            _ => usize::from(self.layout().rows.height),
        };
        let ordered = self.order().is_some();
        let details = self.details().is_some();
        let Some(snapshot) = self.snapshot().map(Arc::clone) else { return };
        let sheet = snapshot.sheet.as_ref();
        let place = self.place_mut();
        let before = place.selected;
        place.selected = before.and_then(|selected| find(sheet, selected));
        if !ordered {
            // A stream grows at the top: what the reader looks at stays where it is on the screen, unless
            // that is the top itself.
            let top = place.top.filter(|_| place.offset > 0 && before.is_none());
            let (from, to) = match (before, place.selected, top) {
                (Some(before), Some(after), _) if before.id == after.id => (before.index, after.index),
                (_, _, Some(top)) => (top.index, find(sheet, top).map_or(top.index, |found| found.index)),
                _ => (0, 0),
            };
            place.offset = (place.offset + to).saturating_sub(from);
        }
        if details && place.selected.is_none() {
            // The pane is about a row: in another view about its first.
            let index = place.offset.min(sheet.len().saturating_sub(1));
            place.selected = sheet.id(index).map(|id| Selected { id, index });
        }
        place.offset = place.offset.min(sheet.len().saturating_sub(height));
        if let Some(Selected { index, .. }) = place.selected {
            place.offset = place.offset.min(index).max((index + 1).saturating_sub(height));
        }
        place.top = sheet.id(place.offset).map(|id| Selected { id, index: place.offset });
    }

    /// The picture was moved by hand: what is at its top now is what is looked at.
    pub fn look_at_top(&mut self) {
        self.place_mut().top = None;
        self.settle();
    }

    /// Puts the marker on a row, or on the last one if there are not so many.
    pub fn select(&mut self, index: usize) {
        let Some(snapshot) = self.snapshot().map(Arc::clone) else { return };
        let index = index.min(snapshot.sheet.len().saturating_sub(1));
        let place = self.place_mut();
        place.selected = snapshot.sheet.id(index).map(|id| Selected { id, index });
        self.settle();
    }
}

/// Where a row is now; when it is gone, the one that took its place.
fn find(sheet: &dyn Sheet, row: Selected) -> Option<Selected> {
    let near = row.index.min(sheet.len().checked_sub(1)?);
    let index = if sheet.id(near) == Some(row.id) {
        near
    } else {
        (0..sheet.len()).find(|&at| sheet.id(at) == Some(row.id)).unwrap_or(near)
    };
    Some(Selected { id: sheet.id(index)?, index })
}
