//! An inline generator to tokens: a function that borrows what its body borrows, and no more.
//!
//! What stands here is of edition 2024, whatever the user's is, so `impl Future` captures every lifetime and type that is in scope,
//! also those that are left out and those of the `impl` around. That is right for all but the lifetime of a `&Context`, of which
//! the body gets a child: a generator must not keep its caller from returning. So, where there is one,
//!
//! - a function says what it captures, with `use<..>`;
//! - a method cannot, as it would have to name the parameters of an `impl` that is not to be seen from here. There, what the body
//!   holds is said to outlive `'__inline`, and so is the future: then rustc asks that what was captured lives as long as `'__inline`
//!   does, and not the context.
//!
//! For either, what has no name gets one, that nobody else will have written.

use super::{Arguments, arguments, body, in_span, is_cfg, krate, track_caller, ungrouped, words};
use crate::check::{Argument, Generator};
use proc_macro2::{Span, TokenStream};
use quote::{ToTokens, format_ident, quote_spanned};
use syn::ext::IdentExt;
use syn::visit_mut::{self, VisitMut};
use syn::{
    GenericParam, Generics, Ident, Lifetime, LifetimeParam, LitStr, ParenthesizedGenericArguments, Receiver,
    ReceiverKind, TraitBound, Type, TypeFnPtr, TypeReference, parse_quote_spanned,
};

// Input:
//
//     #[generator(cancellable, inline)]
//     async fn words(ctx: &Context, text: &str) -> String { BODY }
//
// Output:
//
//     #[track_caller]
//     fn words<'__elided0>(ctx: &Context, text: &'__elided0 str)
//         -> ::ctx_runtime::Inline<String, impl ::core::future::Future<Output = ()> + use<'__elided0>>
//     {
//         ::ctx_runtime::private::inline::<String, _, _>(ctx, "words", move |ctx, co| async move {
//             #[allow(unused_variables)]
//             let ctx = &ctx;
//             let text = text;
//             let co = co.by_ref();
//             macro_rules! yield_ {
//                 ($item:expr $(,)?) => { co.yield_({ $item }).await };
//             }
//             BODY
//         })
//     }
pub(super) fn generator(generator: &Generator) -> TokenStream {
    let span = Span::mixed_site().located_at(generator.ident().span());
    let krate = krate(generator.args().krate(), span);

    let attrs = generator.attrs();
    let track_caller = track_caller(attrs, span);
    let (vis, unsafety, fn_token, ident) =
        (generator.vis(), generator.unsafety(), generator.fn_token(), generator.ident());
    let Head { generics, arguments: inputs, item, bound } = head(generator, span);
    let where_clause = &generics.where_clause;
    let Arguments { parameters, context, child, rebound } =
        &arguments(&inputs, generator.args(), &krate, span);

    let body_attrs = generator.body_attrs();
    let name = LitStr::new(&generator.ident().unraw().to_string(), span);
    let words = words(generator, span);
    let body = body(generator, &krate, span);
    let body = in_span(attrs, quote_spanned!(span=> async move { #(#rebound)* #words #body }), span);

    quote_spanned! {span=>
        #(#attrs)*
        #track_caller
        #vis #unsafety #fn_token #ident #generics(#(#parameters),*)
            -> #krate::Inline<#item, impl ::core::future::Future<Output = ()> #bound>
        #where_clause
        {
            #(#body_attrs)*
            #krate::private::inline::<#item, _, _>(#context, #name, move |#child, co| #body)
        }
    }
}

/// The signature, with a name for whatever is to be named.
struct Head {
    generics: Generics,
    arguments: Vec<Argument>,
    item: Type,
    /// The future's bound.
    bound: Option<TokenStream>,
}

fn head(generator: &Generator, span: Span) -> Head {
    let mut generics = generator.generics().clone();
    let mut arguments = generator.arguments().to_vec();
    let mut item = generator.item().clone();
    let context = arguments.iter().find_map(|argument| match argument {
        Argument::Context(context) => match ungrouped(&context.ty) {
            Type::Reference(reference) => Some(reference.lifetime.clone()),
            _ => None,
        },
        _ => None,
    });
    let Some(of_context) = context else { return Head { generics, arguments, item, bound: None } };

    let mut names =
        Names { span, lifetimes: Vec::new(), types: Vec::new(), seen: Vec::new(), is_method: false };
    let mut held: Vec<Type> = Vec::new();
    let mut of_self = None;
    for argument in &mut arguments {
        match argument {
            Argument::Receiver(receiver) => {
                held.push(names.receiver(receiver));
                of_self = names.seen.first().cloned();
            }
            Argument::Context(_) => {}
            Argument::Value(argument) => {
                names.visit_type_mut(&mut argument.ty);
                // What is not there everywhere may have no type there either.
                if !argument.attrs.iter().any(is_cfg) {
                    held.push((*argument.ty).clone());
                }
            }
        }
    }
    // As rustc does it, but for the context: `self`'s lifetime, or the only one.
    let elided = of_self.or_else(|| match &*names.seen {
        [only] => Some(only.clone()),
        _ => None,
    });
    if let Some(elided) = elided {
        Fill(elided).visit_type_mut(&mut item);
    }
    names.visit_item(&item);
    held.push(item.clone());

    let inline = Lifetime::new("'__inline", span);
    let Names { lifetimes, types, seen, is_method, .. } = names;
    let lifetimes = lifetimes.iter().chain(is_method.then_some(&inline));
    let lifetimes = lifetimes.map(|name| GenericParam::Lifetime(LifetimeParam::new(name.clone())));
    // Lifetimes come before types.
    let (own_lifetimes, own_types): (Vec<_>, Vec<_>) =
        std::mem::take(&mut generics.params).into_iter().partition(is_lifetime);
    generics.params = own_lifetimes.into_iter().chain(lifetimes).chain(own_types).chain(types).collect();
    let bound = if is_method {
        let held = parse_quote_spanned!(span=> (#(#held,)*): #inline);
        generics.make_where_clause().predicates.push(held);
        quote_spanned!(span=> + #inline)
    } else {
        let captured = generics.params.iter().filter_map(|param| match param {
            GenericParam::Lifetime(param) => {
                let name = &param.lifetime;
                let is_only_the_context_s = of_context.as_ref() == Some(name) && !seen.contains(name);
                (!is_only_the_context_s).then(|| name.to_token_stream())
            }
            GenericParam::Type(param) => Some(param.ident.to_token_stream()),
            GenericParam::Const(param) => Some(param.ident.to_token_stream()),
        });
        quote_spanned!(span=> + use<#(#captured),*>)
    };
    Head { generics, arguments, item, bound: Some(bound) }
}

fn is_lifetime(param: &GenericParam) -> bool {
    matches!(param, GenericParam::Lifetime(_))
}

/// Gives a name to each lifetime that is left out, and to each `impl Trait`.
struct Names {
    span: Span,
    /// The new ones.
    lifetimes: Vec<Lifetime>,
    types: Vec<GenericParam>,
    /// Each lifetime in the order of its appearance, the user's too.
    seen: Vec<Lifetime>,
    /// There is a `self` or a `Self`.
    is_method: bool,
}

impl Names {
    fn new_lifetime(&mut self) -> Lifetime {
        let lifetime = Lifetime::new(&format!("'__elided{}", self.lifetimes.len()), self.span);
        self.lifetimes.push(lifetime.clone());
        self.seen.push(lifetime.clone());
        lifetime
    }

    /// Looks at the item, in which all has a name.
    fn visit_item(&mut self, item: &Type) {
        self.visit_type_mut(&mut item.clone());
    }

    /// The type of `self`.
    fn receiver(&mut self, receiver: &mut Receiver) -> Type {
        let span = self.span;
        self.is_method = true;
        match &mut receiver.kind {
            ReceiverKind::Reference(_, lifetime, mutability) => {
                let lifetime = match lifetime {
                    Some(named) if named.ident != "_" => {
                        self.seen.push(named.clone());
                        named
                    }
                    other => other.insert(self.new_lifetime()),
                };
                parse_quote_spanned!(span=> &#lifetime #mutability Self)
            }
            ReceiverKind::Typed(_, ty) => {
                self.visit_type_mut(ty);
                (**ty).clone()
            }
            _ => parse_quote_spanned!(span=> Self),
        }
    }
}

impl VisitMut for Names {
    fn visit_type_reference_mut(&mut self, reference: &mut TypeReference) {
        match &mut reference.lifetime {
            Some(lifetime) => self.visit_lifetime_mut(lifetime),
            none => *none = Some(self.new_lifetime()),
        }
        self.visit_type_mut(&mut reference.elem);
    }

    fn visit_lifetime_mut(&mut self, lifetime: &mut Lifetime) {
        if lifetime.ident == "_" {
            *lifetime = self.new_lifetime();
        } else if lifetime.ident != "static" {
            self.seen.push(lifetime.clone());
        }
    }

    fn visit_type_mut(&mut self, ty: &mut Type) {
        if let Type::Paren(paren) = ty {
            if matches!(*paren.elem, Type::ImplTrait(_)) {
                // A name needs none.
                *ty = (*paren.elem).clone();
            }
        }
        visit_mut::visit_type_mut(self, ty);
        if let Type::ImplTrait(argument) = ty {
            let name: Ident = format_ident!("__Impl{}", self.types.len(), span = self.span);
            let bounds = &argument.bounds;
            self.types.push(parse_quote_spanned!(self.span=> #name: #bounds));
            *ty = parse_quote_spanned!(self.span=> #name);
        }
    }

    fn visit_ident_mut(&mut self, word: &mut Ident) {
        self.is_method |= word == "Self";
    }

    // What is left out here is the call's own.
    fn visit_parenthesized_generic_arguments_mut(&mut self, _: &mut ParenthesizedGenericArguments) {}
    fn visit_type_fn_ptr_mut(&mut self, _: &mut TypeFnPtr) {}
    fn visit_trait_bound_mut(&mut self, bound: &mut TraitBound) {
        // The names that a `for<'a>` brings mean something here.
        if bound.lifetimes.is_none() {
            self.visit_path_mut(&mut bound.path);
        }
    }
}

/// Puts one lifetime wherever one is left out.
struct Fill(Lifetime);

impl VisitMut for Fill {
    fn visit_type_reference_mut(&mut self, reference: &mut TypeReference) {
        match &mut reference.lifetime {
            Some(lifetime) => self.visit_lifetime_mut(lifetime),
            none => *none = Some(self.0.clone()),
        }
        self.visit_type_mut(&mut reference.elem);
    }

    fn visit_lifetime_mut(&mut self, lifetime: &mut Lifetime) {
        if lifetime.ident == "_" {
            lifetime.clone_from(&self.0);
        }
    }

    fn visit_parenthesized_generic_arguments_mut(&mut self, _: &mut ParenthesizedGenericArguments) {}
    fn visit_type_fn_ptr_mut(&mut self, _: &mut TypeFnPtr) {}
}
