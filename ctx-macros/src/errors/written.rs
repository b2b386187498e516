//! Tokens as a person would write them, for the edit in a `help:`.

use proc_macro2::{Delimiter, Spacing, TokenStream, TokenTree};
use quote::ToTokens;

/// The tokens as a person would write them: `Vec<u8>`, not `Vec < u8 >`.
pub(crate) fn written(tokens: impl ToTokens) -> String {
    write(tokens.to_token_stream())
}

/// What decides where a space goes.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Start,
    Word,
    /// Stands close to what follows: `&`, `::`, `<`, `.`, a lifetime's quote.
    Prefix,
    /// Stands close to what precedes, and a space follows: `,`, `;`, `:`.
    Separator,
    /// Has a space on either side: `=`, `+`, `->`, `mut`.
    Operator,
    Group,
}

fn write(tokens: TokenStream) -> String {
    let (mut text, mut before) = (String::new(), Kind::Start);
    let mut tokens = tokens.into_iter();
    while let Some(token) = tokens.next() {
        let (piece, kind) = match token {
            TokenTree::Punct(first) => {
                let mut operator = String::from(first.as_char());
                let mut last = first;
                while last.spacing() == Spacing::Joint && last.as_char() != '\'' {
                    match tokens.next() {
                        Some(TokenTree::Punct(next)) => {
                            operator.push(next.as_char());
                            last = next;
                        }
                        _ => break,
                    }
                }
                let kind = punctuation(&operator, before);
                (operator, kind)
            }
            TokenTree::Group(group) => {
                let (open, close) = match group.delimiter() {
                    Delimiter::Parenthesis => ("(", ")"),
                    Delimiter::Bracket => ("[", "]"),
                    Delimiter::Brace => ("{ ", " }"),
                    Delimiter::None => ("", ""),
                };
                let kind = if group.delimiter() == Delimiter::None { Kind::Word } else { Kind::Group };
                (format!("{open}{}{close}", write(group.stream())), kind)
            }
            word => {
                let word = word.to_string();
                let kind = if ["as", "dyn", "mut"].contains(&&*word) { Kind::Operator } else { Kind::Word };
                (word, kind)
            }
        };
        let close = match (before, kind) {
            (Kind::Start | Kind::Prefix, _) | (_, Kind::Separator) => true,
            (Kind::Word | Kind::Group, Kind::Prefix) => !matches!(piece.as_str(), "&" | "'" | "*" | "-"),
            (Kind::Word | Kind::Group, Kind::Group) => !piece.starts_with('{'),
            _ => false,
        };
        if !close {
            text.push(' ');
        }
        text.push_str(&piece);
        before = if piece == ">" { Kind::Group } else { kind };
    }
    text
}

fn punctuation(operator: &str, before: Kind) -> Kind {
    match operator {
        "," | ";" | ":" | "?" | ">" => Kind::Separator,
        "::" | "<" | "." | "'" | "!" | ".." => Kind::Prefix,
        "&" | "*" | "-" if !matches!(before, Kind::Word | Kind::Group) => Kind::Prefix,
        // `>>` and `>,` arrive as one where the tokens were joint.
        _ if operator.starts_with('>') && operator != ">=" => Kind::Separator,
        _ => Kind::Operator,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use quote::quote;

    #[test]
    fn types_and_expressions_read_as_people_write_them() {
        assert_eq!(written(quote!(Vec<u8>)), "Vec<u8>");
        assert_eq!(
            written(quote!(std::io::Result<Vec<(u8, &'static str)>>)),
            "std::io::Result<Vec<(u8, &'static str)>>"
        );
        assert_eq!(written(quote!(HashMap<K, Option<V>>)), "HashMap<K, Option<V>>");
        assert_eq!(
            written(quote!(impl Fn(&str) -> bool + Send + 'static)),
            "impl Fn(&str) -> bool + Send + 'static"
        );
        assert_eq!(written(quote!(dyn Iterator<Item = u8>)), "dyn Iterator<Item = u8>");
        assert_eq!(written(quote!(&mut [u8; 4])), "&mut [u8; 4]");
        assert_eq!(written(quote!(n * 2 - 1)), "n * 2 - 1");
        assert_eq!(written(quote!(-1)), "-1");
        assert_eq!(written(quote!(Err(io::Error::other("x")))), "Err(io::Error::other(\"x\"))");
        assert_eq!(written(quote!(row.name().len())), "row.name().len()");
        assert_eq!(written(quote!(Row { id: 1 })), "Row { id: 1 }");
    }
}
