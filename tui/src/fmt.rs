//! Stand-in until the formatter is merged.
use crate::columns::{Unit, Value};

pub fn value(value: &Value<'_>, unit: Unit) -> String {
    let scaled = |v: f64, suffix: &str| {
        let (v, p) = if v >= 1e9 {
            (v / 1e9, "G")
        } else if v >= 1e6 {
            (v / 1e6, "M")
        } else if v >= 1e3 {
            (v / 1e3, "k")
        } else {
            (v, "")
        };
        if p.is_empty() && v.fract() == 0.0 { format!("{v}{suffix}") } else { format!("{v:.1}{p}{suffix}") }
    };
    let number = |v: f64| match unit {
        Unit::Plain => format!("{v}"),
        Unit::Count | Unit::PerSecond => scaled(v, ""),
        Unit::Bytes | Unit::BytesPerSecond => scaled(v, "B"),
        Unit::Nanos => {
            if v >= 1e9 {
                format!("{:.0}s", v / 1e9)
            } else if v >= 1e6 {
                format!("{:.0}ms", v / 1e6)
            } else {
                format!("{:.0}us", v / 1e3)
            }
        }
        Unit::Share => format!("{:.1}%", v * 100.0),
    };
    match value {
        Value::Missing => "-".to_owned(),
        Value::Text(t) => t.shown().into_string(),
        Value::Word(w) => (*w).to_owned(),
        Value::Uint(v) => number(*v as f64),
        Value::Int(v) => number(*v as f64),
        Value::Real(v) => number(*v),
        Value::Bool(b) => b.to_string(),
        Value::Id(v) => v.to_string(),
        Value::Ip(v) => v.to_string(),
        Value::Socket(v) => v.to_string(),
        Value::Time(t) => format!(
            "{:02}:{:02}:{:02}",
            t.0 / 3_600_000_000_000 % 24,
            t.0 / 60_000_000_000 % 60,
            t.0 / 1_000_000_000 % 60
        ),
        Value::Process(c, pid) => format!("{}({pid})", c.shown().as_str()),
    }
}

pub fn fit(text: &str, cells: usize) -> String {
    use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};
    if text.width() <= cells {
        return text.to_owned();
    }
    let mut out = String::new();
    let mut used = 0;
    for c in text.chars() {
        let w = c.width().unwrap_or(0);
        if used + w + 1 > cells {
            break;
        }
        used += w;
        out.push(c);
    }
    if cells > 0 {
        out.push('…');
    }
    out
}
