//! From the tree to text.

use serde_json::Value;

use super::TemplateError;
use super::functions::{call, show, truth};
use super::parse::{Base, Call, Node, Pipeline, Term};

struct Scope<'a> {
    out: String,
    root: &'a Value,
    variables: Vec<(String, Value)>,
}

pub(super) fn render(nodes: &[Node], value: &Value) -> Result<String, TemplateError> {
    let mut scope = Scope {
        out: String::new(),
        root: value,
        variables: Vec::new(),
    };
    scope.nodes(nodes, value)?;
    Ok(scope.out)
}

impl Scope<'_> {
    /// Variables end with the block that they were declared in.
    fn nodes(&mut self, nodes: &[Node], dot: &Value) -> Result<(), TemplateError> {
        let depth = self.variables.len();
        for node in nodes {
            self.node(node, dot)?;
        }
        self.variables.truncate(depth);
        Ok(())
    }

    fn node(&mut self, node: &Node, dot: &Value) -> Result<(), TemplateError> {
        match node {
            Node::Text(text) => self.out.push_str(text),
            Node::Print(pipeline) => {
                let value = self.pipeline(pipeline, dot)?;
                match pipeline.variables.first() {
                    Some(name) => self.variables.push((name.clone(), value)),
                    None => self.out.push_str(&show(&value)),
                }
            }
            Node::If(condition, then, otherwise) => {
                let branch = match truth(&self.pipeline(condition, dot)?) {
                    true => then,
                    false => otherwise,
                };
                self.nodes(branch, dot)?;
            }
            Node::With(condition, then, otherwise) => {
                let value = self.pipeline(condition, dot)?;
                match truth(&value) {
                    true => self.nodes(then, &value)?,
                    false => self.nodes(otherwise, dot)?,
                }
            }
            Node::Range(what, then, otherwise) => self.range(what, then, otherwise, dot)?,
        }
        Ok(())
    }

    fn range(
        &mut self,
        what: &Pipeline,
        then: &[Node],
        otherwise: &[Node],
        dot: &Value,
    ) -> Result<(), TemplateError> {
        let items: Vec<(Value, Value)> = match self.pipeline(what, dot)? {
            Value::Array(items) => (0_u64..).map(Value::from).zip(items).collect(),
            Value::Object(map) => map.into_iter().map(|(k, v)| (k.into(), v)).collect(),
            Value::Null => Vec::new(),
            other => {
                let message = format!("range can't go over {}", show(&other));
                return Err(TemplateError(message));
            }
        };
        if items.is_empty() {
            return self.nodes(otherwise, dot);
        }
        for (key, item) in items {
            let depth = self.variables.len();
            match what.variables.as_slice() {
                [one] => self.variables.push((one.clone(), item.clone())),
                [first, second] => {
                    self.variables.push((first.clone(), key));
                    self.variables.push((second.clone(), item.clone()));
                }
                _ => {}
            }
            self.nodes(then, &item)?;
            self.variables.truncate(depth);
        }
        Ok(())
    }

    fn pipeline(&self, pipeline: &Pipeline, dot: &Value) -> Result<Value, TemplateError> {
        let mut last = None;
        for call in &pipeline.calls {
            last = Some(self.call(call, last, dot)?);
        }
        Ok(last.unwrap_or(Value::Null))
    }

    fn call(&self, one: &Call, piped: Option<Value>, dot: &Value) -> Result<Value, TemplateError> {
        let arguments = one
            .arguments
            .iter()
            .map(|argument| self.term(argument, dot));
        let mut arguments = arguments.collect::<Result<Vec<_>, _>>()?;
        arguments.extend(piped);
        match &one.head {
            Term::Function(name) => call(name, &arguments),
            Term::Path(Base::Dot, path) if path.as_slice() == ["Label"] => label(dot, &arguments),
            head if arguments.is_empty() => self.term(head, dot),
            _ => Err(TemplateError(
                "an argument was given to what is no function".to_owned(),
            )),
        }
    }

    fn term(&self, term: &Term, dot: &Value) -> Result<Value, TemplateError> {
        Ok(match term {
            Term::Text(text) => Value::from(text.as_str()),
            Term::Number(number) => Value::from(*number),
            Term::Bool(value) => Value::from(*value),
            Term::Null => Value::Null,
            Term::Function(name) => call(name, &[])?,
            Term::Path(base, path) => {
                let start = match base {
                    Base::Dot => dot.clone(),
                    Base::Variable(name) if name.is_empty() => self.root.clone(),
                    Base::Variable(name) => self.variable(name)?,
                    Base::Group(group) => self.pipeline(group, dot)?,
                };
                let mut outer = "";
                let mut value = start;
                for name in path {
                    value = match field(&value, name) {
                        // A map in Go and no record: what it does not hold is told so.
                        Err(_) if outer == "Attributes" && value.is_object() => {
                            Value::from("<no value>")
                        }
                        other => other?,
                    };
                    outer = name;
                }
                value
            }
        })
    }

    fn variable(&self, name: &str) -> Result<Value, TemplateError> {
        let found = self.variables.iter().rev().find(|(known, _)| known == name);
        found
            .map(|(_, value)| value.clone())
            .ok_or_else(|| TemplateError(format!("the variable ${name} is not set")))
    }
}

fn field(value: &Value, name: &str) -> Result<Value, TemplateError> {
    match value {
        Value::Object(map) => map.get(name).cloned().ok_or_else(|| {
            let known: Vec<&str> = map.keys().map(String::as_str).collect();
            TemplateError(format!("no field .{name}; there are: {}", known.join(" ")))
        }),
        other => Err(TemplateError(format!(
            "no field .{name} in {}",
            show(other)
        ))),
    }
}

/// `.Label "key"` of a row: one of the labels that `.Labels` lists.
fn label(row: &Value, arguments: &[Value]) -> Result<Value, TemplateError> {
    let [Value::String(key)] = arguments else {
        return Err(TemplateError(".Label wants one argument: a key".to_owned()));
    };
    let labels = field(row, "Labels")?;
    let mut pairs = labels.as_str().unwrap_or_default().split(',');
    let found = pairs.find_map(|pair| pair.split_once('=').filter(|(k, _)| k == key));
    Ok(Value::from(found.map_or("", |(_, value)| value)))
}
