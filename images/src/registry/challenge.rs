//! What a registry asks for: the header `WWW-Authenticate` (RFC 9110, section
//! 11.6.1; the distribution project's token specification for `Bearer`).

/// One way to authenticate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Challenge {
    Basic,
    Bearer {
        /// Address of the token server.
        realm: String,
        service: Option<String>,
        scope: Option<String>,
        /// Why a token that was sent is not enough.
        error: Option<String>,
    },
}

/// The challenges of all headers that are known here; a token is preferred.
pub(crate) fn parse<'a>(headers: impl IntoIterator<Item = &'a str>) -> Option<Challenge> {
    let mut found: Vec<Challenge> = headers.into_iter().flat_map(parse_one).collect();
    let bearer = found
        .iter()
        .position(|c| matches!(c, Challenge::Bearer { .. }));
    match (bearer, found.is_empty()) {
        (Some(at), _) => Some(found.swap_remove(at)),
        (None, false) => Some(Challenge::Basic),
        (None, true) => None,
    }
}

/// A scheme and its parameters, as they stand there.
type Raw = (String, Vec<(String, String)>);

fn parse_one(header: &str) -> Vec<Challenge> {
    let known = |(scheme, parameters): Raw| {
        let get = |name: &str| {
            let found = parameters.iter().find(|(key, _)| key == name);
            found.map(|(_, value)| value.clone())
        };
        match scheme.as_str() {
            "basic" => Some(Challenge::Basic),
            "bearer" => Some(Challenge::Bearer {
                realm: get("realm")?,
                service: get("service"),
                scope: get("scope").filter(|scope| !scope.is_empty()),
                error: get("error"),
            }),
            _ => None,
        }
    };
    split(header).into_iter().filter_map(known).collect()
}

/// Commas separate parameters and challenges alike: a word that is not followed
/// by `=` begins a new challenge.
fn split(header: &str) -> Vec<Raw> {
    let mut challenges: Vec<Raw> = Vec::new();
    let mut rest = header;
    loop {
        rest = rest.trim_start_matches([' ', '\t', ',']);
        let end = rest.find(|c: char| !is_token(c)).unwrap_or(rest.len());
        if end == 0 {
            return challenges;
        }
        let (word, after) = rest.split_at(end);
        let word = word.to_ascii_lowercase();
        let value = after.trim_start_matches([' ', '\t']).strip_prefix('=');
        match (value, challenges.last_mut()) {
            (Some(value), Some((_, parameters))) => {
                let (value, after) = read_value(value.trim_start_matches([' ', '\t']));
                parameters.push((word, value));
                rest = after;
            }
            // A parameter of nothing.
            (Some(_), None) => return challenges,
            (None, _) => {
                challenges.push((word, Vec::new()));
                rest = after;
            }
        }
    }
}

fn is_token(c: char) -> bool {
    c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c)
}

/// A token, or a string in quotes with its backslashes taken off.
fn read_value(text: &str) -> (String, &str) {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find([',', ' ', '\t']).unwrap_or(text.len());
        return (text[..end].to_owned(), &text[end..]);
    };
    let mut value = String::new();
    let mut chars = quoted.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return (value, &quoted[at + 1..]),
            '\\' => value.extend(chars.next().map(|(_, c)| c)),
            c => value.push(c),
        }
    }
    (value, "")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bearer(realm: &str, service: Option<&str>, scope: Option<&str>) -> Option<Challenge> {
        Some(Challenge::Bearer {
            realm: realm.into(),
            service: service.map(str::to_owned),
            scope: scope.map(str::to_owned),
            error: None,
        })
    }

    #[test]
    fn challenges_are_read() {
        for (header, expected) in [
            (
                r#"Bearer realm="https://auth.io/token",service="reg.io",scope="repository:a/b:pull,push""#,
                bearer(
                    "https://auth.io/token",
                    Some("reg.io"),
                    Some("repository:a/b:pull,push"),
                ),
            ),
            (
                "bearer realm=https://a.io/t",
                bearer("https://a.io/t", None, None),
            ),
            (
                r#"Bearer  service = "s\"x" ,, realm="https://a.io/""#,
                bearer("https://a.io/", Some("s\"x"), None),
            ),
            (r#"Basic realm="Registry Realm""#, Some(Challenge::Basic)),
            ("BASIC", Some(Challenge::Basic)),
            (
                r#"Basic realm="x", Bearer realm="https://a.io/", scope="""#,
                bearer("https://a.io/", None, None),
            ),
            (r#"Negotiate, Basic realm="x""#, Some(Challenge::Basic)),
            // Without a realm there is no token to be had.
            (r#"Bearer service="x""#, None),
            ("Negotiate abc==", None),
            ("realm=x", None),
            ("", None),
            (",,", None),
            ("Bearer realm=\"unclosed", bearer("unclosed", None, None)),
            ("\u{fc}", None),
        ] {
            assert_eq!(parse([header]), expected, "{header}");
        }
    }

    #[test]
    fn a_token_is_preferred_among_several_headers() {
        let headers = ["Basic realm=\"x\"", "Bearer realm=\"https://a.io/\""];
        assert_eq!(parse(headers), bearer("https://a.io/", None, None));
        assert_eq!(parse([]), None);
    }

    #[test]
    fn why_a_token_is_not_enough_is_kept() {
        let header = r#"Bearer realm="https://a.io/",error="insufficient_scope""#;
        let Some(Challenge::Bearer { error, .. }) = parse([header]) else {
            panic!("no challenge");
        };
        assert_eq!(error.as_deref(), Some("insufficient_scope"));
    }
}
