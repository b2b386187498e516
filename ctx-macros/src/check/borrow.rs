//! Whether a type borrows, as far as its syntax tells.

use proc_macro2::TokenStream;
use quote::ToTokens;
use syn::visit::{self, Visit};
use syn::visit_mut::VisitMut;
use syn::{
    GenericParam, Generics, Ident, Lifetime, ParenthesizedGenericArguments, TraitBound, Type, TypeFnPtr,
    TypePath, TypeReference, WherePredicate,
};

/// The first reference or lifetime in `ty` that is not `'static`.
///
/// A lifetime that a path leaves out (`Ref<T>`) is not seen; rustc sees it.
pub(super) fn find(ty: &Type, generics: &Generics) -> Option<TokenStream> {
    let mut borrows = Borrows { lasting: lasting(generics), found: None };
    borrows.visit_type(ty);
    borrows.found
}

/// Whether a reference of this lifetime is as good as owned.
pub(super) fn lasts(lifetime: &Lifetime, generics: &Generics) -> bool {
    Borrows { lasting: lasting(generics), found: None }.lasts(lifetime)
}

/// The type with `'static` wherever it borrows.
pub(crate) fn owned(mut ty: Type) -> Type {
    Owned.visit_type_mut(&mut ty);
    ty
}

struct Owned;

impl VisitMut for Owned {
    fn visit_type_reference_mut(&mut self, reference: &mut TypeReference) {
        reference.lifetime = Some(Lifetime::new("'static", reference.and_token.span));
        self.visit_type_mut(&mut reference.elem);
    }

    fn visit_lifetime_mut(&mut self, lifetime: &mut Lifetime) {
        lifetime.ident = Ident::new("static", lifetime.ident.span());
    }

    fn visit_parenthesized_generic_arguments_mut(&mut self, _: &mut ParenthesizedGenericArguments) {}
    fn visit_type_fn_ptr_mut(&mut self, _: &mut TypeFnPtr) {}
    fn visit_trait_bound_mut(&mut self, bound: &mut TraitBound) {
        // The names that a `for<'a>` brings mean something here.
        if bound.lifetimes.is_none() {
            self.visit_path_mut(&mut bound.path);
        }
    }
}

/// The lifetime parameters that are bound by `'static`: the same by another name.
fn lasting(generics: &Generics) -> Vec<Ident> {
    let is_static = |bound: &Lifetime| bound.ident == "static";
    let in_list = generics.params.iter().filter_map(|param| match param {
        GenericParam::Lifetime(param) if param.bounds.iter().any(is_static) => Some(&param.lifetime),
        _ => None,
    });
    let in_where =
        generics.where_clause.iter().flat_map(|clause| &clause.predicates).filter_map(|predicate| {
            match predicate {
                WherePredicate::Lifetime(predicate) if predicate.bounds.iter().any(is_static) => {
                    Some(&predicate.lifetime)
                }
                _ => None,
            }
        });
    in_list.chain(in_where).map(|lifetime| lifetime.ident.clone()).collect()
}

struct Borrows {
    /// Lifetimes that do not count: `'static` ones, and those that a `for<'a>` around here brings.
    lasting: Vec<Ident>,
    found: Option<TokenStream>,
}

impl Borrows {
    fn lasts(&self, lifetime: &Lifetime) -> bool {
        lifetime.ident == "static" || self.lasting.contains(&lifetime.ident)
    }
}

impl<'ast> Visit<'ast> for Borrows {
    fn visit_type_reference(&mut self, reference: &'ast TypeReference) {
        match &reference.lifetime {
            Some(lifetime) if self.lasts(lifetime) => self.visit_type(&reference.elem),
            _ => {
                self.found.get_or_insert_with(|| reference.to_token_stream());
            }
        }
    }

    fn visit_lifetime(&mut self, lifetime: &'ast Lifetime) {
        if !self.lasts(lifetime) {
            self.found.get_or_insert_with(|| lifetime.to_token_stream());
        }
    }

    fn visit_trait_bound(&mut self, bound: &'ast TraitBound) {
        let outside = self.lasting.len();
        let brought = bound.lifetimes.iter().flat_map(|bound| &bound.lifetimes);
        self.lasting.extend(brought.filter_map(|param| match param {
            GenericParam::Lifetime(param) => Some(param.lifetime.ident.clone()),
            _ => None,
        }));
        self.visit_path(&bound.path);
        self.lasting.truncate(outside);
    }

    // `impl Fn(&str) -> &str` and `fn(&str)` hold nothing of what they are called with.
    fn visit_parenthesized_generic_arguments(&mut self, _: &'ast ParenthesizedGenericArguments) {}
    fn visit_type_fn_ptr(&mut self, _: &'ast TypeFnPtr) {}

    // What `<T as Trait<'a>>::Out` is, syntax does not tell.
    fn visit_type_path(&mut self, path: &'ast TypePath) {
        if path.qself.is_none() {
            visit::visit_type_path(self, path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use syn::parse_quote;

    fn borrows(ty: &Type) -> Option<String> {
        let generics: syn::ItemFn = parse_quote!(
            fn f<'a, 'b: 'static, 'c>()
            where
                'c: 'static,
            {
            }
        );
        find(ty, &generics.sig.generics).map(crate::errors::written)
    }

    #[test]
    fn references_and_lifetimes_are_found_wherever_they_hide() {
        assert_eq!(borrows(&parse_quote!(&str)).as_deref(), Some("&str"));
        assert_eq!(borrows(&parse_quote!(Vec<Option<&'a mut u8>>)).as_deref(), Some("&'a mut u8"));
        assert_eq!(borrows(&parse_quote!(Cow<'a, str>)).as_deref(), Some("'a"));
        assert_eq!(borrows(&parse_quote!(Ref<'_, str>)).as_deref(), Some("'_"));
        assert_eq!(borrows(&parse_quote!(Box<dyn Read + 'a>)).as_deref(), Some("'a"));
        assert_eq!(borrows(&parse_quote!(impl Iterator<Item = &u8>)).as_deref(), Some("&u8"));
        assert_eq!(borrows(&parse_quote!(&'static &'a str)).as_deref(), Some("&'a str"));
    }

    #[test]
    fn what_borrows_has_an_owned_version() {
        let version = |ty: Type| crate::errors::written(owned(ty));
        assert_eq!(version(parse_quote!(Cow<'a, [&str]>)), "Cow<'static, [&'static str]>");
        assert_eq!(version(parse_quote!(Box<dyn Fn(&str) + 'a>)), "Box<dyn Fn(&str) + 'static>");
    }

    #[test]
    fn what_lasts_is_let_through() {
        for ty in [
            parse_quote!(String),
            parse_quote!(&'static str),
            parse_quote!(&'b str),
            parse_quote!(Cow<'c, str>),
            parse_quote!(impl Fn(&str) -> bool),
            parse_quote!(impl for<'x> Handler<'x, &'x str> + Send),
            parse_quote!(Box<dyn FnMut(&mut u8) -> &u8 + Send>),
            parse_quote!(fn(&str) -> &str),
            parse_quote!(<T as Family<'a>>::Out),
        ] {
            assert_eq!(borrows(&ty), None, "{}", crate::errors::written(&ty));
        }
    }
}
