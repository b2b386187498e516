//! Tokens to syntax: what is written, right or wrong.

use crate::args::{self, Args};
use crate::errors::{self, Errors};
use crate::groups::Groups;
use proc_macro2::{Delimiter, TokenStream, TokenTree};
use syn::parse::{Parse, ParseStream};
use syn::visit_mut::VisitMut;
use syn::{Attribute, Block, Error, Signature, Stmt, Token, Visibility, braced};

/// A function with the attribute's options.
pub(crate) struct Source {
    pub(crate) args: Args,
    pub(crate) function: Function,
    /// The mistakes in the options; the rules add theirs.
    pub(crate) errors: Errors,
}

/// Like `syn::ItemFn`, but a body that does not parse leaves the rest of it whole.
pub(crate) struct Function {
    pub(crate) attrs: Vec<Attribute>,
    pub(crate) vis: Visibility,
    pub(crate) signature: Signature,
    pub(crate) body: Body,
}

pub(crate) enum Body {
    Statements {
        attrs: Vec<Attribute>,
        statements: Vec<Stmt>,
    },
    /// As while typing.
    Broken(Error),
    /// As in a trait.
    Missing,
}

/// What is emitted for an item that is not a function: nothing can be checked, and no stub be made.
pub(crate) struct NotAFunction {
    errors: Errors,
    item: TokenStream,
}

impl NotAFunction {
    pub(crate) fn into_tokens(self) -> TokenStream {
        let mut tokens = self.errors.into_compile_errors();
        tokens.extend(self.item);
        tokens
    }
}

pub(crate) fn parse(args: TokenStream, item: TokenStream) -> Result<Source, NotAFunction> {
    let mut errors = Errors::default();
    let args = args::parse(args, &mut errors);
    let item = without_invisible_group(item);
    match syn::parse2::<Function>(item.clone()) {
        Ok(function) => Ok(Source { args, function, errors }),
        Err(error) => {
            // A function whose head does not parse is rustc's to report; to repeat it would only repeat its errors.
            let Some(first) = start_of_other_item(&item) else {
                errors.push(error);
                return Err(NotAFunction { errors, item: TokenStream::new() });
            };
            if is_closure(&item) {
                errors.push(errors::not_a_closure(&first));
                return Err(NotAFunction { errors, item: TokenStream::new() });
            }
            errors.push(errors::not_a_function(&first));
            Err(NotAFunction { errors, item })
        }
    }
}

impl Parse for Function {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        let attrs = input.call(Attribute::parse_outer)?;
        let vis = input.parse()?;
        let mut signature = input.parse()?;
        Groups.visit_signature_mut(&mut signature);
        if input.parse::<Option<Token![;]>>()?.is_some() {
            return Ok(Self { attrs, vis, signature, body: Body::Missing });
        }
        let content;
        braced!(content in input);
        let body = match statements(&content) {
            Ok(body) => body,
            Err(error) => {
                content.parse::<TokenStream>()?;
                Body::Broken(error)
            }
        };
        Ok(Self { attrs, vis, signature, body })
    }
}

fn statements(content: ParseStream<'_>) -> syn::Result<Body> {
    let attrs = content.call(Attribute::parse_inner)?;
    let mut statements = content.call(Block::parse_within)?;
    for statement in &mut statements {
        Groups.visit_stmt_mut(statement);
    }
    Ok(Body::Statements { attrs, statements })
}

/// The item alone, where a macro's `$item` put it into an invisible group.
fn without_invisible_group(item: TokenStream) -> TokenStream {
    let mut tokens = item.clone().into_iter();
    match (tokens.next(), tokens.next()) {
        (Some(TokenTree::Group(group)), None) if group.delimiter() == Delimiter::None => group.stream(),
        _ => item,
    }
}

fn is_closure(item: &TokenStream) -> bool {
    let is_word =
        |token: &TokenTree| matches!(token, TokenTree::Ident(word) if word == "async" || word == "move");
    let mut tokens = item.clone().into_iter().skip_while(is_word);
    matches!(tokens.next(), Some(TokenTree::Punct(bar)) if bar.as_char() == '|')
}

/// The token that tells that this is no function, if one does.
fn start_of_other_item(item: &TokenStream) -> Option<TokenTree> {
    let mut first = None;
    let mut tokens = item.clone().into_iter().peekable();
    while let Some(token) = tokens.next() {
        match &token {
            TokenTree::Ident(word) if word == "fn" => return None,
            // Attributes and visibility say nothing yet.
            TokenTree::Punct(hash) if first.is_none() && hash.as_char() == '#' => drop(tokens.next()),
            TokenTree::Ident(word) if first.is_none() && word == "pub" => {
                tokens.next_if(|next| matches!(next, TokenTree::Group(_)));
            }
            // The body of something else.
            TokenTree::Group(group) if group.delimiter() == Delimiter::Brace => break,
            _ => {
                first.get_or_insert(token);
            }
        }
    }
    first
}
