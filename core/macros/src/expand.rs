//! What `#[extension(…)]` becomes: the typetag attribute on the `impl`, and one registration beside it.

use proc_macro2::TokenStream;
use quote::quote;
use syn::{Attribute, Error, Expr, ExprLit, Item, ItemImpl, Lit, Meta, Path};

use crate::arguments::Arguments;

pub(crate) fn expand(arguments: &Arguments, item: TokenStream) -> syn::Result<TokenStream> {
    let implementation = implementation(item)?;
    let category = category(&implementation)?;
    let config = &implementation.self_ty;
    let Arguments { name, type_names, doc } = arguments;
    let canonical = &type_names[0];
    let doc = doc.as_ref().map_or_else(|| first_doc_line(&implementation.attrs), syn::LitStr::value);
    Ok(quote! {
        const _: () = {
            use ::underpass_core::__private::{inventory, typetag};

            #[typetag::deserialize(name = #canonical)]
            #implementation

            inventory::submit! {
                ::underpass_core::extension::Registration {
                    category: <dyn #category as ::underpass_core::extension::Category>::NAME,
                    name: #name,
                    type_names: &[#(#type_names),*],
                    provider: ::core::env!("CARGO_PKG_NAME"),
                    doc: #doc,
                    fields: ::underpass_core::extension::fields_of::<#config>,
                }
            }
        };
    })
}

fn implementation(item: TokenStream) -> syn::Result<ItemImpl> {
    const WHERE: &str = "`#[extension(…)]` stands on `impl <category's config trait> for <config type>`, such as `impl \
         NetworkFilterConfig for Echo`";
    let item: Item = syn::parse2(item)?;
    match item {
        Item::Impl(implementation) => Ok(implementation),
        other => Err(Error::new_spanned(other, WHERE)),
    }
}

fn category(implementation: &ItemImpl) -> syn::Result<&Path> {
    let Some((None, category, _)) = &implementation.trait_ else {
        return Err(Error::new_spanned(
            &implementation.self_ty,
            "an extension implements the config trait of its category: `impl <trait> for …`",
        ));
    };
    if !implementation.generics.params.is_empty() {
        return Err(Error::new_spanned(
            &implementation.generics,
            "the config of an extension is one message and cannot be generic",
        ));
    }
    Ok(category)
}

/// The first line of a doc comment, without its mark-up.
fn first_doc_line(attributes: &[Attribute]) -> String {
    let line = attributes.iter().filter(|attribute| attribute.path().is_ident("doc")).find_map(|attribute| {
        match &attribute.meta {
            Meta::NameValue(pair) => match &pair.value {
                Expr::Lit(ExprLit { lit: Lit::Str(text), .. }) => Some(text.value()),
                _ => None,
            },
            _ => None,
        }
    });
    line.unwrap_or_default().trim().to_owned()
}
