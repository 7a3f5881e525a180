//! The part of Go's text/template that people use with `--format`: fields,
//! pipelines, functions, variables, `if`, `range`, `with`. It works on JSON
//! values; a field that is not there is an error, not an empty string.

mod eval;
mod functions;
mod lex;
mod parse;

use serde_json::Value;

use parse::Node;

/// A template that was read and found well-formed.
#[derive(Clone, Debug)]
pub(crate) struct Template {
    nodes: Vec<Node>,
}

/// Why a template can't be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct TemplateError(pub(crate) String);

impl Template {
    /// Reads a template.
    pub(crate) fn parse(text: &str) -> Result<Template, TemplateError> {
        Ok(Template {
            nodes: parse::parse(text)?,
        })
    }

    /// Fills it in.
    pub(crate) fn render(&self, value: &Value) -> Result<String, TemplateError> {
        eval::render(&self.nodes, value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn render(text: &str) -> Result<String, TemplateError> {
        let value = json!({
            "ID": "abc", "Pid": 7, "Running": true, "Empty": "", "Labels": "a=1,b=2",
            "State": {"Status": "exited", "Code": 3},
            "Attributes": {"a": "1"}, "Env": ["A=1", "B=2"], "Map": {"x": "1", "y": "2"}, "None": null,
        });
        Template::parse(text)?.render(&value)
    }

    #[test]
    fn templates_render_as_in_go() {
        for (text, expected) in [
            ("plain", "plain"),
            ("{{.ID}}", "abc"),
            ("{{ .ID }}:{{.Pid}}", "abc:7"),
            ("{{.State.Status}}", "exited"),
            ("{{json .State}}", r#"{"Code":3,"Status":"exited"}"#),
            ("{{json .ID}}", "\"abc\""),
            ("{{.ID | upper | json}}", "\"ABC\""),
            ("{{index .Map \"x\"}}{{index .Env 1}}", "1B=2"),
            ("{{len .Env}}", "2"),
            ("{{join .Env \",\"}}", "A=1,B=2"),
            ("{{if .Running}}up{{else}}down{{end}}", "up"),
            ("{{if .Empty}}x{{else if eq .Pid 7}}seven{{end}}", "seven"),
            ("{{range .Env}}<{{.}}>{{end}}", "<A=1><B=2>"),
            (
                "{{range $k, $v := .Map}}{{$k}}={{$v}};{{$.ID}} {{end}}",
                "x=1;abc y=2;abc ",
            ),
            ("{{range .None}}x{{else}}none{{end}}", "none"),
            ("{{with .State}}{{.Code}}{{end}}", "3"),
            ("a {{- .ID -}} b", "aabcb"),
            ("{{/* note */}}x", "x"),
            ("{{.Env}} {{.Map}}", "[A=1 B=2] map[x:1 y:2]"),
            ("{{printf \"%s-%d %q\" .ID .Pid .ID}}", "abc-7 \"abc\""),
            ("{{.Label \"b\"}}", "2"),
            (
                "{{not .Running}} {{and .ID .Pid}} {{or .Empty .ID}}",
                "false 7 abc",
            ),
            ("{{(index .Env 0) | lower}}", "a=1"),
            ("{{$x := .ID}}{{$x}}", "abc"),
            ("{{ne .ID \"abc\"}} {{gt .Pid 3}}", "false true"),
            ("{{println .ID}}", "abc\n"),
            ("{{(.State).Code}}", "3"),
            ("{{truncate .ID 2}}", "ab"),
            ("{{.Attributes.a}} {{.Attributes.b}}", "1 <no value>"),
        ] {
            assert_eq!(render(text).as_deref(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn wrong_templates_are_refused_by_name() {
        for (text, part) in [
            ("{{.Nosuch}}", "no field .Nosuch"),
            ("{{.State.Nosuch}}", "no field .Nosuch"),
            ("{{.ID.More}}", ".More"),
            ("{{nosuch .ID}}", "unknown function nosuch"),
            ("{{.ID", "not closed"),
            ("{{if .ID}}x", "{{end}}"),
            ("{{end}}", "{{end}}"),
            ("{{}}", "empty"),
            ("{{$x}}", "$x"),
            ("{{index .Env 9}}", "9"),
            ("{{json}}", "argument"),
            ("{{\"abc}}", "quote"),
            ("{{.ID .Pid}}", "argument"),
        ] {
            let error = render(text).expect_err(text).to_string();
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
