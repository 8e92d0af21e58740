//! Every path that a file names outside its tests: imports with their full path, and paths in
//! expressions, types, patterns and macros, resolved through the file's own imports.

use std::collections::HashMap;

use proc_macro2::{Span, TokenStream, TokenTree};
use syn::visit::{self, Visit};
use syn::{Attribute, Item, ItemUse, Macro, Meta, UseTree};

/// One named path, first segment first.
#[derive(Debug)]
pub(super) struct Named {
    pub(super) path: Vec<String>,
    pub(super) line: usize,
}

/// What one file says.
#[derive(Debug, Default)]
pub(super) struct Names {
    pub(super) paths: Vec<Named>,
    /// Lines of `unsafe` blocks, functions, impls and traits.
    pub(super) unsafes: Vec<usize>,
    /// Lines of `async` functions, blocks and closures, and of `.await`.
    pub(super) asyncs: Vec<usize>,
    /// Every identifier, whatever it names.
    pub(super) words: Vec<(String, usize)>,
    /// What the file's own imports stand for.
    imports: HashMap<String, Vec<String>>,
}

/// Reads a file.
pub(super) fn read(file: &syn::File) -> Names {
    let mut names = Names::default();
    // Imports first: a path may be written above the import that explains it.
    Imports(&mut names).visit_file(file);
    names.visit_file(file);
    names
}

/// Whether an item exists only in tests.
pub(super) fn only_in_tests(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| match &attribute.meta {
        Meta::Path(path) => path.is_ident("test"),
        // `any(test, …)` may also be built outside tests: only these two forms are not.
        Meta::List(list) if list.path.is_ident("cfg") => {
            let text: String = list.tokens.to_string().split_whitespace().collect();
            text == "test" || text.starts_with("all(test,")
        }
        _ => false,
    })
}

fn line(span: Span) -> usize {
    span.start().line
}

struct Imports<'n>(&'n mut Names);

impl<'ast> Visit<'ast> for Imports<'_> {
    fn visit_item(&mut self, item: &'ast Item) {
        if !only_in_tests(attributes(item)) {
            visit::visit_item(self, item);
        }
    }

    fn visit_item_use(&mut self, item: &'ast ItemUse) {
        // Words of an import are read with it.
        spread(&item.tree, &mut Vec::new(), &mut |path, alias, span| {
            if let Some(alias) = alias {
                self.0.imports.insert(alias, path.clone());
            }
            let line = line(span);
            self.0
                .words
                .extend(path.iter().map(|word| (word.clone(), line)));
            self.0.paths.push(Named { path, line });
        });
    }
}

/// Every leaf of an import tree: the full path, the name it goes by here, and where it stands.
fn spread(
    tree: &UseTree,
    prefix: &mut Vec<String>,
    give: &mut impl FnMut(Vec<String>, Option<String>, Span),
) {
    match tree {
        UseTree::Path(path) => {
            prefix.push(path.ident.to_string());
            spread(&path.tree, prefix, give);
            prefix.pop();
        }
        UseTree::Name(name) => {
            let word = name.ident.to_string();
            let mut full = prefix.clone();
            let alias = if word == "self" {
                prefix.last().cloned()
            } else {
                Some(word.clone())
            };
            if word != "self" {
                full.push(word);
            }
            give(full, alias, name.ident.span());
        }
        UseTree::Rename(rename) => {
            let mut full = prefix.clone();
            if rename.ident != "self" {
                full.push(rename.ident.to_string());
            }
            give(full, Some(rename.rename.to_string()), rename.ident.span());
        }
        UseTree::Glob(glob) => {
            let mut full = prefix.clone();
            full.push("*".to_owned());
            give(
                full,
                None,
                glob.star_token
                    .spans
                    .first()
                    .copied()
                    .unwrap_or_else(Span::call_site),
            );
        }
        UseTree::Group(group) => {
            for tree in &group.items {
                spread(tree, prefix, give);
            }
        }
    }
}

fn attributes(item: &Item) -> &[Attribute] {
    match item {
        Item::Const(i) => &i.attrs,
        Item::Enum(i) => &i.attrs,
        Item::ExternCrate(i) => &i.attrs,
        Item::Fn(i) => &i.attrs,
        Item::ForeignMod(i) => &i.attrs,
        Item::Impl(i) => &i.attrs,
        Item::Macro(i) => &i.attrs,
        Item::Mod(i) => &i.attrs,
        Item::Static(i) => &i.attrs,
        Item::Struct(i) => &i.attrs,
        Item::Trait(i) => &i.attrs,
        Item::TraitAlias(i) => &i.attrs,
        Item::Type(i) => &i.attrs,
        Item::Union(i) => &i.attrs,
        Item::Use(i) => &i.attrs,
        _ => &[],
    }
}

impl Names {
    fn name(&mut self, path: Vec<String>, line: usize) {
        let Some((first, rest)) = path.split_first() else {
            return;
        };
        let full = match self.imports.get(first) {
            Some(import) => import.iter().chain(rest).cloned().collect(),
            None => path,
        };
        self.paths.push(Named { path: full, line });
    }

    /// A macro's arguments are tokens: paths in them are found as `word :: word :: …`.
    fn tokens(&mut self, tokens: TokenStream) {
        let mut path: Vec<String> = Vec::new();
        let mut at = 0;
        let mut colons = 0;
        for tree in tokens {
            match tree {
                TokenTree::Ident(word) => {
                    if colons != 2 {
                        self.flush(&mut path, at);
                    }
                    if path.is_empty() {
                        at = line(word.span());
                    }
                    self.words.push((word.to_string(), line(word.span())));
                    match word.to_string().as_str() {
                        "unsafe" => self.unsafes.push(line(word.span())),
                        "async" | "await" => self.asyncs.push(line(word.span())),
                        text => path.push(text.to_owned()),
                    }
                    colons = 0;
                }
                TokenTree::Punct(sign) if sign.as_char() == ':' => colons += 1,
                TokenTree::Group(group) => {
                    self.flush(&mut path, at);
                    colons = 0;
                    self.tokens(group.stream());
                }
                TokenTree::Punct(_) | TokenTree::Literal(_) => {
                    self.flush(&mut path, at);
                    colons = 0;
                }
            }
        }
        self.flush(&mut path, at);
    }

    fn flush(&mut self, path: &mut Vec<String>, at: usize) {
        if path.len() > 1 {
            self.name(std::mem::take(path), at);
        }
        path.clear();
    }
}

impl<'ast> Visit<'ast> for Names {
    fn visit_item(&mut self, item: &'ast Item) {
        if !only_in_tests(attributes(item)) {
            visit::visit_item(self, item);
        }
    }

    fn visit_ident(&mut self, word: &'ast proc_macro2::Ident) {
        self.words.push((word.to_string(), line(word.span())));
    }

    fn visit_item_use(&mut self, _: &'ast ItemUse) {}

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        if !only_in_tests(&item.attrs) {
            visit::visit_impl_item_fn(self, item);
        }
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let words: Vec<String> = path.segments.iter().map(|s| s.ident.to_string()).collect();
        if let Some(first) = path.segments.first() {
            self.name(words, line(first.ident.span()));
        }
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, item: &'ast Macro) {
        self.visit_path(&item.path);
        self.tokens(item.tokens.clone());
    }

    // Attributes name lints and derives, not imports; `#[tokio::main]` is found as `async`.
    fn visit_attribute(&mut self, _: &'ast Attribute) {}

    fn visit_expr_unsafe(&mut self, item: &'ast syn::ExprUnsafe) {
        self.unsafes.push(line(item.unsafe_token.span));
        visit::visit_expr_unsafe(self, item);
    }

    fn visit_item_impl(&mut self, item: &'ast syn::ItemImpl) {
        if let Some(token) = &item.unsafety {
            self.unsafes.push(line(token.span));
        }
        visit::visit_item_impl(self, item);
    }

    fn visit_item_trait(&mut self, item: &'ast syn::ItemTrait) {
        if let Some(token) = &item.unsafety {
            self.unsafes.push(line(token.span));
        }
        visit::visit_item_trait(self, item);
    }

    fn visit_item_foreign_mod(&mut self, item: &'ast syn::ItemForeignMod) {
        self.unsafes.push(line(item.abi.extern_token.span));
        visit::visit_item_foreign_mod(self, item);
    }

    fn visit_signature(&mut self, item: &'ast syn::Signature) {
        if let Some(token) = &item.unsafety {
            self.unsafes.push(line(token.span));
        }
        if let Some(token) = &item.asyncness {
            self.asyncs.push(line(token.span));
        }
        visit::visit_signature(self, item);
    }

    fn visit_expr_async(&mut self, item: &'ast syn::ExprAsync) {
        self.asyncs.push(line(item.async_token.span));
        visit::visit_expr_async(self, item);
    }

    fn visit_expr_closure(&mut self, item: &'ast syn::ExprClosure) {
        if let Some(token) = &item.asyncness {
            self.asyncs.push(line(token.span));
        }
        visit::visit_expr_closure(self, item);
    }

    fn visit_expr_await(&mut self, item: &'ast syn::ExprAwait) {
        self.asyncs.push(line(item.await_token.span));
        visit::visit_expr_await(self, item);
    }
}
