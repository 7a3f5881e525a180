//! Functions of templates, and what Go makes of values.

use std::cmp::Ordering;

use serde_json::Value;

use super::TemplateError;

fn wrong(message: impl Into<String>) -> TemplateError {
    TemplateError(message.into())
}

/// A value as text.
pub(super) fn show(value: &Value) -> String {
    match value {
        Value::Null => "<no value>".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(show).collect();
            format!("[{}]", items.join(" "))
        }
        Value::Object(map) => {
            let pairs: Vec<String> = map
                .iter()
                .map(|(k, v)| format!("{k}:{}", show(v)))
                .collect();
            format!("map[{}]", pairs.join(" "))
        }
        other => other.to_string(),
    }
}

/// Go's truth: not zero and not empty.
pub(super) fn truth(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(value) => *value,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::Object(map) => !map.is_empty(),
    }
}

/// Calls the function `name`.
pub(super) fn call(name: &str, arguments: &[Value]) -> Result<Value, TemplateError> {
    let text = |at: usize| arguments.get(at).map(show);
    let missing = || wrong(format!("{name} wants more arguments"));
    let one = || arguments.first().ok_or_else(missing);
    Ok(match name {
        "json" => Value::from(one()?.to_string()),
        "upper" => Value::from(show(one()?).to_uppercase()),
        "lower" => Value::from(show(one()?).to_lowercase()),
        "title" => Value::from(title(&show(one()?))),
        "len" => Value::from(length(one()?)?),
        "not" => Value::from(!truth(one()?)),
        "and" => pick(arguments, false).ok_or_else(missing)?,
        "or" => pick(arguments, true).ok_or_else(missing)?,
        "print" => Value::from(arguments.iter().map(show).collect::<String>()),
        "println" => {
            let texts: Vec<String> = arguments.iter().map(show).collect();
            Value::from(texts.join(" ") + "\n")
        }
        "printf" => Value::from(printf(&text(0).ok_or_else(missing)?, &arguments[1..])?),
        "index" => {
            let (first, keys) = arguments.split_first().ok_or_else(missing)?;
            keys.iter()
                .try_fold(first.clone(), |value, key| index(&value, key))?
        }
        "join" => {
            let separator = text(1).ok_or_else(missing)?;
            match &arguments[0] {
                Value::Array(items) => {
                    let items: Vec<String> = items.iter().map(show).collect();
                    Value::from(items.join(&separator))
                }
                Value::Null => Value::from(""),
                other => return Err(wrong(format!("join can't join {}", show(other)))),
            }
        }
        "split" => {
            let (whole, separator) = (show(one()?), text(1).ok_or_else(missing)?);
            Value::Array(whole.split(separator.as_str()).map(Value::from).collect())
        }
        "truncate" => {
            let length = arguments
                .get(1)
                .and_then(Value::as_u64)
                .ok_or_else(missing)?;
            let length = usize::try_from(length).unwrap_or(usize::MAX);
            Value::from(show(one()?).chars().take(length).collect::<String>())
        }
        "eq" => {
            let others = arguments.get(1..).filter(|rest| !rest.is_empty());
            Value::from(
                others
                    .ok_or_else(missing)?
                    .iter()
                    .any(|other| *other == arguments[0]),
            )
        }
        "ne" | "lt" | "le" | "gt" | "ge" => {
            let [left, right] = arguments else {
                return Err(wrong(format!("{name} wants two arguments")));
            };
            Value::from(compare(name, left, right)?)
        }
        _ => return Err(wrong(format!("unknown function {name}"))),
    })
}

fn compare(name: &str, left: &Value, right: &Value) -> Result<bool, TemplateError> {
    if name == "ne" {
        return Ok(left != right);
    }
    let order = match (left, right) {
        (Value::String(left), Value::String(right)) => Some(left.cmp(right)),
        (Value::Number(left), Value::Number(right)) => left
            .as_f64()
            .zip(right.as_f64())
            .and_then(|(left, right)| left.partial_cmp(&right)),
        _ => None,
    };
    let order = order.ok_or_else(|| wrong(format!("{name} can't compare these values")))?;
    Ok(match name {
        "lt" => order == Ordering::Less,
        "le" => order != Ordering::Greater,
        "gt" => order == Ordering::Greater,
        _ => order != Ordering::Less,
    })
}

/// The first argument whose truth is `wanted`, else the last.
fn pick(arguments: &[Value], wanted: bool) -> Option<Value> {
    let found = arguments.iter().find(|value| truth(value) == wanted);
    found.or(arguments.last()).cloned()
}

fn length(value: &Value) -> Result<usize, TemplateError> {
    match value {
        Value::String(text) => Ok(text.len()),
        Value::Array(items) => Ok(items.len()),
        Value::Object(map) => Ok(map.len()),
        Value::Null => Ok(0),
        other => Err(wrong(format!("{} has no length", show(other)))),
    }
}

fn index(value: &Value, key: &Value) -> Result<Value, TemplateError> {
    let found = match (value, key) {
        (Value::Array(items), Value::Number(at)) => {
            let at = at.as_u64().and_then(|at| usize::try_from(at).ok());
            at.and_then(|at| items.get(at).cloned())
        }
        // As in Go, a map gives the empty value for a key that it does not have.
        (Value::Object(map), Value::String(key)) => {
            Some(map.get(key).cloned().unwrap_or_else(|| "".into()))
        }
        _ => None,
    };
    found.ok_or_else(|| {
        wrong(format!(
            "there is no index {} in {}",
            show(key),
            show(value)
        ))
    })
}

fn title(text: &str) -> String {
    let mut start = true;
    let change = |c: char| {
        let c = if start { c.to_ascii_uppercase() } else { c };
        start = c.is_whitespace();
        c
    };
    text.chars().map(change).collect()
}

fn printf(format: &str, arguments: &[Value]) -> Result<String, TemplateError> {
    let mut out = String::new();
    let mut arguments = arguments.iter();
    let mut chars = format.chars();
    while let Some(c) = chars.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        let verb = chars.next();
        if verb == Some('%') {
            out.push('%');
            continue;
        }
        let value = arguments
            .next()
            .ok_or_else(|| wrong("printf wants more arguments"))?;
        match verb {
            Some('s' | 'v' | 'd' | 't') => out.push_str(&show(value)),
            Some('q') => out.push_str(&Value::from(show(value)).to_string()),
            other => return Err(wrong(format!("printf does not know {other:?}"))),
        }
    }
    Ok(out)
}
