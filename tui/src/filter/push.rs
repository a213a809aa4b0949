//! What of an expression the kernel side may apply: top-level terms that every match must satisfy.

use std::ops::RangeInclusive;

use super::test::Item;
use super::{Expr, Filter, Test};
use crate::columns::{Kind, Value};
use crate::records::Outside;

/// Lists of which a matching row is a member. The kernel may pass more, never less.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PushDown {
    pub pids: Option<Vec<u32>>,
    pub uids: Option<Vec<u32>>,
    pub ports: Option<Vec<u16>>,
}

/// A longer list is not worth a map.
const LIST_MAX: usize = 200;

type Uids<'a> = dyn Fn(&dyn Fn(&str) -> bool) -> Vec<u32> + 'a;

/// No process in the cgroup at `path` can match.
pub fn excludes_cgroup(filter: &Filter, path: &Outside) -> bool {
    let refuses = |term: &Expr| match term {
        Expr::Key(key, test, _) => {
            filter.keys.get(*key) == Some(&"cgroup") && !test.matches(&Value::Text(path), Kind::Text)
        }
        _ => false,
    };
    match &filter.tree {
        Expr::And(parts) => parts.iter().any(refuses),
        single => refuses(single),
    }
}

pub fn push_down(filter: &Filter, uids: &Uids<'_>) -> PushDown {
    let mut pushed = PushDown::default();
    match &filter.tree {
        Expr::And(parts) => parts.iter().for_each(|part| take(part, filter, uids, &mut pushed)),
        single => take(single, filter, uids, &mut pushed),
    }
    pushed
}

fn take(term: &Expr, filter: &Filter, uids: &Uids<'_>, pushed: &mut PushDown) {
    let Expr::Key(key, Test::Any(items), _) = term else { return };
    let numbers = || -> Option<Vec<u64>> {
        let mut all = Vec::new();
        for item in items {
            all.extend(whole_numbers(item)?);
            if all.len() > LIST_MAX {
                return None;
            }
        }
        Some(all)
    };
    match filter.keys.get(*key).copied() {
        Some("pid") if pushed.pids.is_none() => {
            pushed.pids = numbers().map(|list| list.into_iter().map(|n| n as u32).collect());
        }
        Some("user") if pushed.uids.is_none() => {
            let mut list = Vec::new();
            for item in items {
                match (item.number, whole_numbers(item)) {
                    (Some(_), Some(ids)) => list.extend(ids.map(|id| id as u32)),
                    (Some(_), None) => return,
                    (None, _) => list.extend(uids(&|name| item.is_in_text(name))),
                }
            }
            // Nobody by that name: nothing can match, which user space says as well.
            pushed.uids = (!list.is_empty() && list.len() <= LIST_MAX).then_some(list);
        }
        Some("port" | "lport" | "rport") if pushed.ports.is_none() => {
            pushed.ports =
                numbers().and_then(|list| list.into_iter().map(|n| u16::try_from(n).ok()).collect());
        }
        _ => {}
    }
}

/// The numbers that an item names, unless they are fractions or too many to list.
fn whole_numbers(item: &Item) -> Option<RangeInclusive<u64>> {
    let (first, last) = item.number?;
    let whole = |n: f64| (n.fract() == 0.0 && (0.0..=f64::from(u32::MAX)).contains(&n)).then_some(n as u64);
    let (first, last) = (whole(first)?, whole(last)?);
    (last.saturating_sub(first) < LIST_MAX as u64).then_some(first..=last)
}

impl Item {
    fn is_in_text(&self, text: &str) -> bool {
        self.glob.as_ref().map_or_else(|| self.word.is_in(text.as_bytes()), |glob| glob.is_match(text))
    }
}
