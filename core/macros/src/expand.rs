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
                    read: |node| node.read::<#config>(),
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

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"name = "a.b", type_url = "type.googleapis.com/a.v1.B""#;

    fn expanded(arguments: &str, item: &str) -> Result<String, String> {
        let arguments: Arguments = syn::parse_str(arguments).map_err(|error| error.to_string())?;
        let item = item.parse().unwrap();
        expand(&arguments, item).map(|tokens| tokens.to_string()).map_err(|error| error.to_string())
    }

    #[test]
    fn the_registration_says_what_the_attribute_and_the_comment_say() {
        let aliases = format!(r#"{GOOD}, aliases = ["x/a.v0.B", "x/old.B"]"#);
        let tokens = expanded(&aliases, "/// Does it.\n/// Well.\nimpl Category for B {}").unwrap();
        assert!(tokens.contains(r#"type_names : & ["a.v1.B" , "a.v0.B" , "old.B"]"#), "{tokens}");
        assert!(tokens.contains(r#"doc : "Does it.""#), "{tokens}");
        assert!(tokens.contains(r#"# [typetag :: deserialize (name = "a.v1.B")]"#), "{tokens}");
        let tokens = expanded(&format!(r#"{GOOD}, doc = "Otherwise.""#), "impl Category for B {}").unwrap();
        assert!(tokens.contains(r#"doc : "Otherwise.""#), "{tokens}");
    }

    #[test]
    fn wrong_arguments_are_explained() {
        let message = |arguments: &str| expanded(arguments, "impl Category for B {}").unwrap_err();
        assert_eq!(
            message(r#"name = "a""#),
            r#"`type_url = "type.googleapis.com/…"` is missing: the type of the extension's config message"#
        );
        assert_eq!(
            message(r#"type_url = "x/a.B""#),
            r#"`name = "…"` is missing: the extension's name, as in Envoy"#
        );
        for url in ["a.B", "/a.B", "x/B", "x/"] {
            assert_eq!(
                message(&format!(r#"name = "a", type_url = "{url}""#)),
                "a type URL has the form `type.googleapis.com/package.v1.Message`",
                "{url}"
            );
        }
        assert_eq!(message(&format!(r#"{GOOD}, name = "b""#)), "`name` is given twice");
        assert_eq!(message(r#"nmae = "a""#), "expected `name`, `type_url`, `aliases` or `doc`");
        assert_eq!(message(&format!("{GOOD}, aliases = [7]")), "an alias is a type URL in quotes");
    }

    #[test]
    fn the_wrong_place_is_explained() {
        let message = |item: &str| expanded(GOOD, item).unwrap_err();
        assert_eq!(
            message("struct B {}"),
            "`#[extension(…)]` stands on `impl <category's config trait> for <config type>`, such as `impl \
             NetworkFilterConfig for Echo`"
        );
        assert_eq!(
            message("impl B {}"),
            "an extension implements the config trait of its category: `impl <trait> for …`"
        );
        assert_eq!(
            message("impl<T> Category for B<T> {}"),
            "the config of an extension is one message and cannot be generic"
        );
    }
}
