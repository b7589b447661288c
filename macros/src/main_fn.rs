use proc_macro2::TokenStream;
use quote::quote;
use syn::{Error, ItemFn};

pub(crate) fn expand(options: TokenStream, item: TokenStream) -> syn::Result<TokenStream> {
    if !options.is_empty() {
        return Err(Error::new_spanned(options, "#[watertight::main] has no options"));
    }
    let mut function: ItemFn = syn::parse2(item)?;
    if let Some(asyncness) = function.sig.asyncness {
        return Err(Error::new_spanned(
            asyncness,
            "`init` must run before the runtime starts threads: write `fn main`, call `watertight::init()`, \
             and start the runtime below it",
        ));
    }
    let statements = &function.block.stmts;
    function.block = syn::parse2(quote!({ ::watertight::init(); #(#statements)* }))?;
    Ok(quote!(#function))
}
