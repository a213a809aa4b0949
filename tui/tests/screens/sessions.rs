//! What keys and mouse do, step by step.

use std::time::Duration;

use crossterm::event::MouseEventKind;
use fluoro::app::Msg;
use fluoro::families::Family;
use fluoro::model::{Note, Query, Sort, Status, View};

use crate::console::Console;
use crate::rows::{self, Flow, Scene};

fn flows(ids: impl IntoIterator<Item = u64>) -> Scene {
    let rows: Vec<Flow> = ids.into_iter().map(rows::flow).collect();
    let total = rows.len();
    Scene::of(rows, total)
}

/// A console of 80x24 that shows these flows.
fn showing(ids: impl IntoIterator<Item = u64>) -> Console {
    let mut console = Console::new(80, 24);
    console.answer(flows(ids));
    console
}

#[test]
fn the_marker_stays_with_its_row_when_rows_change_places() {
    let mut console = showing(0..10);
    console.keys("jjj");
    let marked = console.marked().unwrap();
    console.answer(flows((0..10).rev()));
    assert_eq!(console.marked().unwrap(), marked);
    console.answer(flows((0..500).rev()));
    assert_eq!(console.marked().unwrap(), marked, "far down the table it is kept in sight");
}

#[test]
fn when_the_marked_row_is_gone_its_neighbour_is_marked() {
    let mut console = showing(0..10);
    console.keys("jjj");
    console.answer(flows((0..10).filter(|id| *id != 2)));
    let third = showing([3]).keys("j").marked().unwrap();
    assert_eq!(console.marked().unwrap(), third);
    console.answer(flows(0..1));
    assert!(console.marked().is_some());
    console.answer(flows([]));
    assert_eq!(console.marked(), None);
}

#[test]
fn nothing_is_marked_until_somebody_moves_and_escape_lets_go() {
    let mut console = showing(0..10);
    assert_eq!(console.marked(), None);
    console.keys("j");
    assert!(console.marked().is_some());
    console.keys("<Esc>");
    assert_eq!(console.marked(), None);
}

#[test]
fn movement_keys_reach_both_ends_and_go_no_further() {
    let mut console = showing(0..100);
    console.keys("G");
    let last = console.marked();
    console.keys("j<PgDn><C-d>");
    assert_eq!(console.marked(), last);
    console.keys("g");
    let first = console.marked();
    console.keys("k<PgUp><C-u>");
    assert_eq!(console.marked(), first);
    console.keys("<PgDn><PgUp>");
    assert_eq!(console.marked(), first);
}

#[test]
fn digits_and_tab_ask_for_their_view() {
    use View::{Events, Failures, Overview, Probes, Processes};

    let mut console = showing(0..3);
    console.keys("5678<Tab><S-Tab><S-Tab>");
    let views: Vec<View> = console.asked.iter().map(|q| q.view).collect();
    assert_eq!(views, [Processes, Events, Failures, Probes, Overview, Probes, Failures]);
    let serials: Vec<u64> = console.asked.iter().map(|q| q.serial).collect();
    assert!(serials.windows(2).all(|s| s[0] < s[1]));
}

#[test]
fn an_answer_to_another_view_is_not_shown_as_this_one() {
    let mut console = showing(0..3);
    let late = flows(0..3).answer(&Query { view: View::Flows, ..Query::default() });
    console.keys("6").send(Msg::Snapshot(late));
    assert!(!console.text().contains("nginx"), "{}", console.text());
}

#[test]
fn while_a_filter_is_typed_letters_are_text_and_rows_follow() {
    let mut console = showing(0..3);
    console.keys("/nginxq");
    assert!(!console.quit);
    assert_eq!(console.asked.len(), 6, "one question a letter");
    assert!(console.asked.last().unwrap().filter.is_some());
    console.keys("<Esc>");
    assert!(console.asked.last().unwrap().filter.is_none(), "Esc restores what was before");
    console.keys("/nginx<Enter>");
    assert!(console.text().contains("/ nginx"));
    console.keys("<Esc>");
    assert!(console.asked.last().unwrap().filter.is_none(), "Esc on the table clears the filter");
}

#[test]
fn a_filter_that_does_not_parse_asks_nothing_and_cannot_be_kept() {
    let mut console = showing(0..3);
    console.keys("/port:443");
    let asked = console.asked.len();
    console.keys("<BS><BS><BS><BS><BS><BS><BS><BS>prot:443");
    let wrong = console.asked.len();
    console.keys("<Enter>");
    assert!(console.text().contains('^'), "{}", console.text());
    assert_eq!(console.asked.len(), wrong);
    assert!(wrong > asked);
    console.keys("<C-u>nginx<Enter>");
    assert!(!console.text().contains('^'));
}

#[test]
fn sort_moves_over_the_columns_in_sight_and_reverses() {
    let mut console = showing(0..3);
    let sort = |c: &Console| c.asked.last().unwrap().sort.unwrap();
    console.keys("s");
    assert_eq!(sort(&console), Sort { column: "tx", descending: true });
    console.keys("S");
    assert_eq!(sort(&console), Sort { column: "tx", descending: false });
    console.keys("s");
    assert_eq!(sort(&console), Sort { column: "process", descending: false }, "around the end");
    console.keys("<");
    assert_eq!(sort(&console).column, "tx");
    console.keys(">>>");
    assert_eq!(sort(&console).column, "rx");
}

#[test]
fn each_view_keeps_its_own_order_filter_and_place() {
    let mut console = showing(0..30);
    console.keys("jjj/nginx<Enter>s");
    let (sort, marked) = (console.asked.last().unwrap().sort, console.marked());
    console.keys("8");
    assert!(console.asked.last().unwrap().filter.is_none());
    console.keys("2").answer(flows(0..30));
    let query = console.asked.last().unwrap();
    assert_eq!(query.sort, sort);
    assert!(query.filter.is_some());
    assert_eq!(console.marked(), marked);
}

#[test]
fn pause_asks_for_the_frozen_picture_and_back() {
    let mut console = showing(0..3);
    console.keys(" ");
    assert!(console.asked.last().unwrap().paused);
    console.keys("8");
    assert!(console.asked.last().unwrap().paused, "a frozen moment can be seen from every view");
    console.keys(" ");
    assert!(!console.asked.last().unwrap().paused);
}

#[test]
fn details_follow_the_marked_row_and_escape_closes_them_first() {
    let mut console = showing(0..9);
    console.keys("/n<Enter>j<Enter>");
    assert!(console.text().contains("Details"));
    let before = console.text();
    console.keys("j");
    assert_ne!(console.text(), before);
    console.keys("<Esc>");
    assert!(!console.text().contains("Details"));
    assert!(console.text().contains("/ n"), "the filter is still there");
}

#[test]
fn a_heading_orders_a_tab_shows_a_double_click_opens() {
    let mut console = showing(0..9);
    console.click(77, 3);
    assert_eq!(console.asked.last().unwrap().sort, Some(Sort { column: "tx", descending: true }));
    console.click(77, 3);
    assert_eq!(console.asked.last().unwrap().sort, Some(Sort { column: "tx", descending: false }));
    console.click(5, 6);
    assert!(console.marked().unwrap().starts_with("sshd"));
    console.pass(Duration::from_secs(2)).click(5, 6);
    assert!(!console.text().contains("Details"), "two slow clicks are not a double click");
    console.pass(Duration::from_millis(200)).click(5, 6);
    assert!(console.text().contains("Details"));
    let tab = console.text().lines().nth(1).unwrap().find("Events").unwrap() as u16;
    console.keys("<Esc>").click(tab, 1);
    assert_eq!(console.asked.last().unwrap().view, View::Events);
}

#[test]
fn the_wheel_moves_the_picture_and_takes_the_marker_along_at_the_edge() {
    let mut console = showing(0..100);
    console.keys("j").wheel(MouseEventKind::ScrollDown);
    let fourth = showing(0..100).keys("jjjj").marked();
    assert_eq!(console.marked(), fourth);
    console.wheel(MouseEventKind::ScrollUp).wheel(MouseEventKind::ScrollUp);
    assert_eq!(console.marked(), fourth, "scrolled back, the marker stays where it is");
}

#[test]
fn the_palette_finds_actions_and_columns_by_their_words() {
    let mut console = showing(0..3);
    console.keys(":sort by rtt<Enter>");
    assert_eq!(console.asked.last().unwrap().sort.unwrap().column, "rtt");
    console.keys(":hook<Enter>");
    assert_eq!(console.asked.last().unwrap().view, View::Probes, "found by its help");
    console.keys(":pause<Enter>");
    assert!(console.asked.last().unwrap().paused);
}

#[test]
fn silence_of_the_engine_is_noticed_and_time_alone_draws_nothing() {
    let mut console = showing(0..3);
    console.state.dirty = false;
    for _ in 0..4 {
        console.pass(Duration::from_secs(1));
        assert!(!console.state.dirty, "an idle console has nothing to draw");
    }
    console.pass(Duration::from_secs(2));
    assert!(console.state.dirty);
    assert!(console.text().contains("numbers are old"));
    console.answer(flows(0..3));
    assert!(!console.text().contains("numbers are old"));
}

#[test]
fn control_c_leaves_whatever_is_open() {
    for open in ["", "/nginx", ":", "?", "j<Enter>"] {
        let mut console = showing(0..3);
        console.keys(open).keys("<C-c>");
        assert!(console.quit, "with {open:?} open");
    }
}

#[test]
fn a_stream_does_not_run_away_from_what_is_looked_at() {
    let line = |c: &Console, at: usize| c.text().lines().nth(at).unwrap().to_owned();
    let newest_first = |newest: u64| flows((0..newest).rev());
    let mut console = Console::new(80, 24);
    console.keys("6").answer(newest_first(100));
    let first = line(&console, 4);
    console.answer(newest_first(103));
    assert_ne!(line(&console, 4), first, "at the top it follows");

    console.wheel(MouseEventKind::ScrollDown);
    let (first, last) = (line(&console, 4), line(&console, 20));
    console.answer(newest_first(150));
    assert_eq!((line(&console, 4), line(&console, 20)), (first, last), "scrolled away it stands still");

    console.keys("jj");
    let marked = console.text().lines().position(|l| l.starts_with('▸'));
    console.answer(newest_first(190));
    assert_eq!(console.text().lines().position(|l| l.starts_with('▸')), marked, "and so does the marker");
}

fn scopes(console: &Console) -> Vec<String> {
    console
        .asked
        .last()
        .unwrap()
        .scopes
        .iter()
        .map(|scope| format!("{} {}", scope.word(), scope.label()))
        .collect()
}

#[test]
fn a_scope_is_set_by_one_key_obeyed_by_every_view_and_taken_away_one_by_one() {
    let mut console = showing(0..9);
    console.keys("jjo");
    assert_eq!(scopes(&console), ["process postgres(1187)"]);
    assert!(console.text().contains("scope  process postgres(1187)"), "{}", console.text());
    console.answer(flows([1, 7])).keys("5");
    assert_eq!(scopes(&console), ["process postgres(1187)"], "another view obeys it");
    console.answer(flows([1, 7])).keys("2").answer(flows([1, 7])).keys("jO");
    assert!(console.text().contains("Narrow every view to"));
    console.keys("jj<Enter>");
    assert_eq!(scopes(&console), ["process postgres(1187)", "peer 81.2.87.7"]);
    console.keys("<BS>");
    assert_eq!(scopes(&console), ["process postgres(1187)"]);
    console.keys("/n<Enter><Esc>");
    assert_eq!(scopes(&console).len(), 1, "Esc takes the filter first");
    console.keys("<Esc>");
    assert!(scopes(&console).is_empty());
}

#[test]
fn keys_typed_ahead_of_their_rows_are_not_lost() {
    let mut console = Console::new(80, 24);
    console.keys("5jo2");
    assert_eq!(console.asked.iter().map(|q| q.view).collect::<Vec<_>>(), [View::Processes]);
    console.answer(flows(0..3));
    assert_eq!(console.asked.last().unwrap().view, View::Flows);
    assert_eq!(scopes(&console), ["process nginx(4242)"]);
    console.answer(flows(0..3)).keys("6/curl<Enter>j");
    console.answer(flows(0..3));
    assert!(console.text().contains("/ curl"), "{}", console.text());
    assert!(console.marked().is_some());
    console.keys("8jq");
    assert!(console.quit, "leaving waits for nothing");
}

#[test]
fn paused_left_and_right_ask_for_other_moments() {
    let moment = |c: &Console| c.asked.last().unwrap().moment;
    let at = |number: u64| {
        let mut scene = flows(0..3);
        scene.reach.moment = number;
        scene
    };
    let mut console = showing(0..3);
    console.keys("<Left>");
    assert!(console.text().contains("Space pauses"));
    console.keys(" ").answer(at(40));
    assert_eq!(moment(&console), None, "the moment of the pause is the engine's to choose");
    console.keys("<Left><Left>");
    assert_eq!(moment(&console), Some(38));
    console.answer(at(39)).keys("<Right>");
    assert_eq!(moment(&console), Some(40), "where the ring ends the engine says");
    console.keys("<C-Left>");
    assert_eq!(moment(&console), Some(30));
    console.keys(" ");
    assert_eq!(moment(&console), None);
}

#[test]
fn the_details_of_the_marked_row_are_asked_for_and_follow_the_marker() {
    let subject =
        |c: &Console| c.asked.last().and_then(|q| q.subject.as_ref().map(fluoro::model::Scope::label));
    let mut console = showing(0..9);
    console.keys("j");
    assert_eq!(subject(&console), None);
    console.keys("<Enter>");
    assert_eq!(subject(&console).as_deref(), Some("nginx(4242)"));
    console.keys("j");
    assert_eq!(subject(&console).as_deref(), Some("postgres(1187)"));
    console.keys("<Esc>");
    assert_eq!(subject(&console), None);
}

#[test]
fn tab_completes_a_key_and_then_a_value_that_the_table_shows() {
    let mut console = showing(0..9);
    console.keys("/uni<Tab>");
    assert!(console.text().contains("/ unit:"), "{}", console.text());
    console.keys("post<Tab>");
    assert!(console.text().contains("/ unit:postgresql@16-main.service"), "{}", console.text());
    assert!(console.asked.last().unwrap().filter.is_some());
    console.keys("<C-u>unit:s<Tab>");
    assert!(
        console.text().contains("session-12.scope  ssh.service"),
        "several are listed: {}",
        console.text()
    );
}

#[test]
fn the_stream_is_filtered_by_the_keys_of_every_family() {
    let mut console = Console::new(80, 24);
    let lines: Vec<_> = (0..9).map(|n| rows::event(n, rows::flow(n))).collect();
    console.keys("6").answer(Scene::of(lines, 9));
    for filter in ["proc:migrate", "path:/etc/*", "port:443", "event:flow.*", "errno:ECONNREFUSED", "exit:3"]
    {
        console.keys(&format!("/<C-u>{filter}<Enter>"));
        assert!(console.text().contains(&format!("/ {filter}")), "{}", console.text());
        let asked = console.asked.last().and_then(|query| query.filter.as_ref()).map(ToString::to_string);
        assert_eq!(asked.as_deref(), Some(filter));
    }
    console.keys("/<C-u>proc:pos<Tab>");
    assert!(console.text().contains("/ proc:postgres"), "{}", console.text());
}

#[test]
fn a_family_is_detached_and_attached_by_hand_in_probes_only() {
    let hand = |c: &Console| c.asked.last().unwrap().hand.clone();
    let mut console = showing(0..3);
    console.keys("a");
    assert!(console.text().contains("press 8"), "{}", console.text());
    console.keys("8").answer(Scene::of(rows::probes(), 4)).keys("a");
    assert!(console.text().contains("No program is selected"), "{}", console.text());
    console.keys("ja");
    assert_eq!(hand(&console).into_iter().collect::<Vec<_>>(), [(Family::Flow, false)]);
    assert!(console.text().contains("flow is detached by hand"), "{}", console.text());
    console.keys("a");
    assert!(hand(&console).is_empty(), "views decide again");
    let mut detached = rows::probes();
    for row in &mut detached {
        row.status = Status::Detached;
    }
    console.answer(Scene::of(detached, 4)).keys("a2");
    assert_eq!(hand(&console).into_iter().collect::<Vec<_>>(), [(Family::Flow, true)], "in every view");
}

#[test]
fn a_family_that_failed_is_tried_again_each_time() {
    let failed = || {
        let mut rows = rows::probes();
        for row in rows.iter_mut().filter(|row| row.family == "flow") {
            row.status =
                Status::Failed { reason: "cannot load the flow programs: too many open files".into() };
        }
        Scene::of(rows, 4)
    };
    let asked = |c: &Console| {
        let asked = c.asked.last().unwrap();
        (asked.again, asked.hand.get(&Family::Flow).copied())
    };
    let mut console = showing(0..3);
    console.keys("8").answer(failed()).keys("j");
    assert_eq!(asked(&console).0, None);
    console.keys("a").answer(failed());
    assert_eq!(asked(&console), (Some((Family::Flow, 0)), Some(true)));
    assert!(console.text().contains("flow is tried again"), "{}", console.text());
    console.keys("a");
    assert_eq!(asked(&console), (Some((Family::Flow, 1)), Some(true)), "and not detached");
}

#[test]
fn what_could_be_typed_is_not_listed_any_longer_than_it_can_be() {
    let mut console = showing(0..9);
    console.keys("/r<Tab>");
    let listed = |c: &Console| c.text().lines().nth(22).unwrap().contains("rx");
    assert!(listed(&console), "{}", console.text());
    console.keys("<Esc>");
    assert!(!listed(&console), "{}", console.text());
}

#[test]
fn escape_and_a_key_that_come_as_one_are_both_obeyed() {
    let mut console = showing(0..9);
    console.keys("j<Enter>");
    assert!(console.text().contains("Details"), "{}", console.text());
    console.keys("<A-3>");
    assert!(!console.text().contains("Details"), "{}", console.text());
    assert_eq!(console.asked.last().unwrap().view, View::Files);
}

#[test]
fn notes_stand_side_by_side_where_there_is_room_and_are_counted_where_not() {
    let two = || {
        let note = |severe, text: &str| Note { severe, text: text.to_owned() };
        let notes = vec![note(true, "12 events were lost on the way"), note(false, "by a later choice: b")];
        Scene { notes, ..Scene::of(vec![rows::flow(1)], 1) }
    };
    let bottom = |columns| {
        let mut console = Console::new(columns, 24);
        console.answer(two());
        console.text().lines().nth(22).unwrap().trim().to_owned()
    };
    assert_eq!(bottom(80), "12 events were lost on the way · by a later choice: b");
    let narrow = bottom(54);
    let (first, hint) = narrow.split_once("   ").unwrap();
    assert_eq!((first, hint.trim()), ("12 events were lost on the way", "1 more: ? says all"));
    let mut console = Console::new(80, 24);
    console.answer(two()).keys("?");
    for text in ["12 events were lost on the way", "by a later choice: b"] {
        assert!(console.text().contains(text), "{}", console.text());
    }
}

#[test]
fn earlier_filters_come_back_by_the_arrows() {
    let mut console = showing(0..9);
    console.keys("/nginx<Enter>/<C-u>curl<Enter>/<Up><Up>");
    assert!(console.text().contains("/ nginx"), "{}", console.text());
    console.keys("<Down>");
    assert!(console.text().contains("/ curl"));
    console.keys("<Esc>");
    assert!(console.text().contains("/ curl"), "Esc restores the one in force");
}

#[test]
fn a_row_and_commands_about_it_go_to_the_clipboard_and_hold_no_name_from_outside() {
    let mut console = Console::new(200, 50);
    console.answer(Scene::of(rows::hostile(), 7)).keys("jy");
    let row = console.copied.last().unwrap();
    assert!(row.contains('\t') && !row.contains('\x1b'), "{row:?}");
    console.keys("Y");
    assert!(console.text().contains("kill 4242"), "{}", console.text());
    console.keys("<Enter>");
    let command = console.copied.last().unwrap();
    assert!(
        command.starts_with("ss ") && command.chars().all(|c| c.is_ascii_graphic() || c == ' '),
        "{command}"
    );
}

#[test]
fn what_a_key_did_is_drawn_without_waiting_for_news() {
    let mut console = showing(0..9);
    for keys in
        ["j", "k", "<Enter>", "<Esc>", "/", "x", "<Esc>", "?", "<Esc>", "C", "<Esc>", ":", "<Esc>", "s", "3"]
    {
        console.state.dirty = false;
        console.keys(keys);
        assert!(console.state.dirty, "{keys} is seen at once");
    }
}

#[test]
fn a_copied_row_has_what_a_narrow_screen_has_no_room_for() {
    let copied = |columns| {
        let mut console = Console::new(columns, 24);
        console.answer(flows(0..9)).keys("jy");
        console.copied.last().unwrap().clone()
    };
    assert_eq!(copied(60), copied(200));
}

#[test]
fn columns_are_chosen_moved_and_kept() {
    let heads = |c: &Console| {
        c.text().lines().nth(3).unwrap().split_whitespace().map(str::to_owned).collect::<Vec<_>>()
    };
    let mut console = showing(0..9);
    console.keys("Cj ");
    console.keys("jjj<lt><lt><lt><Enter>");
    let (view, columns) = console.kept.last().unwrap().clone();
    assert_eq!(view, View::Flows);
    let columns = columns.unwrap();
    assert!(!columns.contains(&"owner".to_owned()));
    assert_eq!(columns[1], "peer", "{columns:?}");
    assert_eq!(heads(&console)[..2], ["PROCESS", "PEER"]);
    console.keys("Cr<Enter>");
    assert_eq!(console.kept.last().unwrap().1, None, "the view's own are not written down");
}
