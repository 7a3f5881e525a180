//! From tokens to a tree.

use std::vec::IntoIter;

use super::TemplateError;
use super::lex::{Piece, Token, pieces};

/// A part of a template.
#[derive(Clone, Debug)]
pub(super) enum Node {
    Text(String),
    Print(Pipeline),
    If(Pipeline, Vec<Node>, Vec<Node>),
    With(Pipeline, Vec<Node>, Vec<Node>),
    Range(Pipeline, Vec<Node>, Vec<Node>),
}

/// `$a, $b := first | second | third`
#[derive(Clone, Debug)]
pub(super) struct Pipeline {
    pub(super) variables: Vec<String>,
    pub(super) calls: Vec<Call>,
}

/// A term and its arguments.
#[derive(Clone, Debug)]
pub(super) struct Call {
    pub(super) head: Term,
    pub(super) arguments: Vec<Term>,
}

/// One operand.
#[derive(Clone, Debug)]
pub(super) enum Term {
    /// `.A.B`, `$x.A`, `(pipeline).A`
    Path(Base, Vec<String>),
    Function(String),
    Text(String),
    Number(i64),
    Bool(bool),
    Null,
}

/// Where a path starts.
#[derive(Clone, Debug)]
pub(super) enum Base {
    Dot,
    Variable(String),
    Group(Box<Pipeline>),
}

/// How a list of nodes ended.
enum End {
    /// The template is over.
    File,
    /// `{{end}}`
    Block,
    /// `{{else}}`, with what follows an `if` or a `with` in it.
    Else(Option<(String, Vec<Token>)>),
}

pub(super) fn parse(template: &str) -> Result<Vec<Node>, TemplateError> {
    let mut pieces = pieces(template)?.into_iter();
    match list(&mut pieces)? {
        (nodes, End::File) => Ok(nodes),
        _ => Err(wrong(
            "{{end}} or {{else}} without {{if}}, {{range}} or {{with}}",
        )),
    }
}

fn wrong(message: impl Into<String>) -> TemplateError {
    TemplateError(message.into())
}

fn list(pieces: &mut IntoIter<Piece>) -> Result<(Vec<Node>, End), TemplateError> {
    let mut nodes = Vec::new();
    while let Some(piece) = pieces.next() {
        let tokens = match piece {
            Piece::Text(text) => {
                nodes.push(Node::Text(text));
                continue;
            }
            Piece::Action(tokens) => tokens,
        };
        let Some(Token::Word(word)) = tokens.first() else {
            nodes.push(Node::Print(pipeline(&tokens)?));
            continue;
        };
        match word.as_str() {
            "end" => return Ok((nodes, End::Block)),
            "else" => {
                let then = match tokens.get(1) {
                    Some(Token::Word(word)) => Some((word.clone(), tokens[2..].to_vec())),
                    Some(_) => return Err(wrong("only if or with may follow else")),
                    None => None,
                };
                return Ok((nodes, End::Else(then)));
            }
            "if" | "with" | "range" => nodes.push(block(word, &tokens[1..], pieces)?),
            _ => nodes.push(Node::Print(pipeline(&tokens)?)),
        }
    }
    Ok((nodes, End::File))
}

fn block(
    word: &str,
    tokens: &[Token],
    pieces: &mut IntoIter<Piece>,
) -> Result<Node, TemplateError> {
    let condition = pipeline(tokens)?;
    let (then, end) = list(pieces)?;
    let otherwise = match end {
        End::Block => Vec::new(),
        End::Else(Some((word, tokens))) => vec![block(&word, &tokens, pieces)?],
        End::Else(None) => match list(pieces)? {
            (nodes, End::Block) => nodes,
            _ => return Err(wrong(format!("{{{{end}}}} of {{{{{word}}}}} is missing"))),
        },
        End::File => return Err(wrong(format!("{{{{end}}}} of {{{{{word}}}}} is missing"))),
    };
    match word {
        "if" => Ok(Node::If(condition, then, otherwise)),
        "with" => Ok(Node::With(condition, then, otherwise)),
        "range" => Ok(Node::Range(condition, then, otherwise)),
        other => Err(wrong(format!("{other} can't follow else"))),
    }
}

fn pipeline(tokens: &[Token]) -> Result<Pipeline, TemplateError> {
    let (variables, tokens) = match tokens.iter().position(|token| *token == Token::Define) {
        Some(at) => (declared(&tokens[..at])?, &tokens[at + 1..]),
        None => (Vec::new(), tokens),
    };
    let mut reader = Reader {
        tokens,
        at: 0,
        depth: 0,
    };
    let calls = reader.calls()?;
    match reader.peek() {
        None => Ok(Pipeline { variables, calls }),
        Some(_) => Err(wrong("a closing bracket without an opening one")),
    }
}

fn declared(tokens: &[Token]) -> Result<Vec<String>, TemplateError> {
    match tokens {
        [Token::Variable(one)] => Ok(vec![one.clone()]),
        [Token::Variable(one), Token::Comma, Token::Variable(two)] => {
            Ok(vec![one.clone(), two.clone()])
        }
        _ => Err(wrong("only variables can stand before :=")),
    }
}

/// Brackets may be nested so deep.
const DEPTH: usize = 32;

struct Reader<'a> {
    tokens: &'a [Token],
    at: usize,
    depth: usize,
}

impl Reader<'_> {
    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.at)
    }

    fn next(&mut self) -> Option<Token> {
        let token = self.peek().cloned();
        self.at += 1;
        token
    }

    fn calls(&mut self) -> Result<Vec<Call>, TemplateError> {
        let mut calls = Vec::new();
        loop {
            let head = self.term()?;
            let mut arguments = Vec::new();
            while !matches!(self.peek(), None | Some(Token::Pipe | Token::Close)) {
                arguments.push(self.term()?);
            }
            calls.push(Call { head, arguments });
            if self.peek() != Some(&Token::Pipe) {
                return Ok(calls);
            }
            self.at += 1;
        }
    }

    fn term(&mut self) -> Result<Term, TemplateError> {
        let token = self.next().ok_or_else(|| wrong("an action is empty"))?;
        Ok(match token {
            Token::Dot => Term::Path(Base::Dot, Vec::new()),
            Token::Field { name, .. } => {
                let mut path = vec![name];
                path.extend(self.fields());
                Term::Path(Base::Dot, path)
            }
            Token::Variable(name) => Term::Path(Base::Variable(name), self.fields()),
            Token::Word(word) => match word.as_str() {
                "true" => Term::Bool(true),
                "false" => Term::Bool(false),
                "nil" => Term::Null,
                _ => Term::Function(word),
            },
            Token::Text(text) => Term::Text(text),
            Token::Number(number) => Term::Number(number),
            Token::Open => self.group()?,
            other => return Err(wrong(format!("unexpected {other:?} in an action"))),
        })
    }

    fn group(&mut self) -> Result<Term, TemplateError> {
        self.depth += 1;
        if self.depth > DEPTH {
            return Err(wrong("brackets are nested too deep"));
        }
        let calls = self.calls()?;
        self.depth -= 1;
        if self.next() != Some(Token::Close) {
            return Err(wrong("a bracket is not closed"));
        }
        let group = Pipeline {
            variables: Vec::new(),
            calls,
        };
        Ok(Term::Path(Base::Group(Box::new(group)), self.fields()))
    }

    /// Fields that follow without a space.
    fn fields(&mut self) -> Vec<String> {
        let mut path = Vec::new();
        while let Some(Token::Field {
            name,
            spaced: false,
        }) = self.peek()
        {
            path.push(name.clone());
            self.at += 1;
        }
        path
    }
}
