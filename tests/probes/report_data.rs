//! What the data of a report may hold. serde-json-core, which writes it, has no way to write some of what serde knows:
//! it panics at a `char`, a variant of several fields and an error of serde's, and writes bytes as they are. A panic
//! would end an agent or reset a board, so the source of all data is read for these.

use std::fs::{read_dir, read_to_string};
use std::path::{Path, PathBuf};

use syn::visit::{Visit, visit_field, visit_file, visit_item_mod};

/// All that implements `Serialize` there may be in a report.
const DATA: [&str; 5] = [
    "core/src",
    "firmware/src",
    "firmware/boards",
    "linux-agent/src/plugin/output.rs",
    "linux-agent/src/probes",
];

/// They are written as characters or bytes, or their own `Serialize` can fail.
const TYPES: [&str; 12] = [
    "char",
    "CStr",
    "CString",
    "Bytes",
    "ByteBuf",
    "Path",
    "PathBuf",
    "OsStr",
    "OsString",
    "SystemTime",
    "RefCell",
    "Mutex",
];

/// What an `impl Serialize` must not call.
const CALLS: [&str; 4] = [
    "serialize_char",
    "serialize_bytes",
    "serialize_tuple_variant",
    "custom",
];

#[test]
fn no_data_holds_what_cannot_be_written() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut files = Vec::new();
    for part in DATA {
        let before = files.len();
        sources(&root.join(part), &mut files);
        assert!(files.len() > before, "there is no source in {part}");
    }
    let mut serialized = 0;
    for file in files {
        let found = examine(&read_to_string(&file).unwrap());
        assert_eq!(found.faults, [""; 0], "in {}", file.display());
        serialized += found.serialized;
    }
    // It looks where the data is.
    assert!(serialized > 20, "only {serialized} types are serialized");
}

#[test]
fn what_cannot_be_written_is_found() {
    for (source, fault) in [
        ("struct A { a: char }", "char"),
        ("struct A { a: Option<[char; 2]> }", "char"),
        ("struct A<'a>(&'a std::path::Path);", "Path"),
        ("enum A { One, Two(u8, u8) }", "Two"),
        ("#[serde(tag = \"kind\")] enum A { One }", "tag"),
        (
            "struct A { #[serde(serialize_with = \"a\")] a: B }",
            "serialize_with",
        ),
    ] {
        let found = examine(&format!("#[derive(Clone, serde::Serialize)] {source}"));
        assert_eq!(found.faults, [fault], "{source}");
        assert_eq!(examine(source).faults, [""; 0], "{source}");
    }
    for (body, fault) in [
        ("serializer.serialize_char('a')", "serialize_char"),
        ("serializer.serialize_bytes(b\"a\")", "serialize_bytes"),
        ("Err(S::Error::custom(\"no\"))", "custom"),
    ] {
        let source = format!("impl Serialize for A {{ fn serialize() {{ {body} }} }}");
        assert_eq!(examine(&source).faults, [fault], "{source}");
    }
}

#[test]
fn what_can_be_written_is_let_through() {
    let source = r#"
        #[derive(Serialize)]
        struct A { a: u8, #[serde(skip_serializing_if = "Option::is_none")] b: Option<String> }
        #[derive(Serialize)]
        #[serde(untagged)]
        enum B { One(A), Two(u8, u8) }
        #[derive(Serialize)]
        enum C { One, Two(u8), Three { a: u8 } }
        #[cfg(test)]
        mod tests { #[derive(Serialize)] struct D(char); }
    "#;
    let found = examine(source);
    assert_eq!(found.faults, [""; 0]);
    assert_eq!(found.serialized, 3);
}

fn sources(path: &Path, files: &mut Vec<PathBuf>) {
    if path.is_dir() && !path.ends_with("target") {
        for entry in read_dir(path).unwrap() {
            sources(&entry.unwrap().path(), files);
        }
    } else if path.extension().is_some_and(|it| it == "rs") {
        files.push(path.into());
    }
}

fn examine(source: &str) -> Found {
    let mut found = Found::default();
    visit_file(&mut found, &syn::parse_file(source).unwrap());
    found
}

#[derive(Default)]
struct Found {
    /// Types that are serialized.
    serialized: usize,
    faults: Vec<String>,
}

impl Found {
    fn fault(&mut self, what: impl ToString) {
        self.faults.push(what.to_string());
    }

    /// Whether the type is serialized by what serde derives, and if its fields are not written as they are.
    fn derives(&mut self, attributes: &[syn::Attribute]) -> bool {
        let mut derives = false;
        for attribute in attributes.iter().filter(|it| it.path().is_ident("derive")) {
            let _ = attribute.parse_nested_meta(|meta| {
                derives |= is(&meta.path, &["Serialize"]).is_some();
                Ok(())
            });
        }
        if derives {
            self.serialized += 1;
            self.serde(attributes);
        }
        derives
    }

    fn serde(&mut self, attributes: &[syn::Attribute]) -> bool {
        let mut untagged = false;
        for attribute in attributes.iter().filter(|it| it.path().is_ident("serde")) {
            attribute
                .parse_nested_meta(|meta| {
                    untagged |= meta.path.is_ident("untagged");
                    let odd = ["tag", "with", "serialize_with"];
                    if let Some(word) = is(&meta.path, &odd) {
                        self.fault(word);
                    }
                    if meta.input.peek(syn::Token![=]) {
                        meta.value()?.parse::<syn::Expr>()?;
                    }
                    Ok(())
                })
                .unwrap();
        }
        untagged
    }
}

/// The last word of a path, if it is one of these.
fn is(path: &syn::Path, words: &[&str]) -> Option<String> {
    let last = path.segments.last()?.ident.to_string();
    words.contains(&last.as_str()).then_some(last)
}

impl<'s> Visit<'s> for Found {
    fn visit_item_mod(&mut self, item: &'s syn::ItemMod) {
        let is_test = |it: &syn::Attribute| {
            it.path().is_ident("cfg")
                && it
                    .parse_args::<syn::Path>()
                    .is_ok_and(|it| it.is_ident("test"))
        };
        if !item.attrs.iter().any(is_test) {
            visit_item_mod(self, item);
        }
    }

    fn visit_item_struct(&mut self, item: &'s syn::ItemStruct) {
        if self.derives(&item.attrs) {
            for field in &item.fields {
                self.serde(&field.attrs);
                visit_field(self, field);
            }
        }
    }

    fn visit_item_enum(&mut self, item: &'s syn::ItemEnum) {
        if !self.derives(&item.attrs) {
            return;
        }
        let before = self.faults.len();
        let untagged = self.serde(&item.attrs);
        self.faults.truncate(before);
        for variant in &item.variants {
            let tuple = matches!(&variant.fields, syn::Fields::Unnamed(it) if it.unnamed.len() > 1);
            if tuple && !untagged {
                self.fault(&variant.ident);
            }
            for field in &variant.fields {
                self.serde(&field.attrs);
                visit_field(self, field);
            }
        }
    }

    /// Of a field, as nothing else with types is visited but what is in functions.
    fn visit_type_path(&mut self, path: &'s syn::TypePath) {
        if let Some(word) = is(&path.path, &TYPES) {
            self.fault(word);
        }
        syn::visit::visit_type_path(self, path);
    }

    fn visit_item_impl(&mut self, item: &'s syn::ItemImpl) {
        let serialize = |(path, _): &(syn::Path, _)| is(path, &["Serialize"]).is_some();
        if item.trait_.as_ref().is_some_and(serialize) {
            self.serialized += 1;
            let mut calls = Calls(self);
            syn::visit::visit_item_impl(&mut calls, item);
        }
    }

    fn visit_item_fn(&mut self, _: &'s syn::ItemFn) {}
    fn visit_item_type(&mut self, _: &'s syn::ItemType) {}
    fn visit_item_const(&mut self, _: &'s syn::ItemConst) {}
    fn visit_item_static(&mut self, _: &'s syn::ItemStatic) {}
    fn visit_item_trait(&mut self, _: &'s syn::ItemTrait) {}
}

/// Looks at what an `impl Serialize` does.
struct Calls<'f>(&'f mut Found);

impl<'s> Visit<'s> for Calls<'_> {
    fn visit_expr_method_call(&mut self, call: &'s syn::ExprMethodCall) {
        let name = call.method.to_string();
        if CALLS.contains(&name.as_str()) {
            self.0.fault(name);
        }
        syn::visit::visit_expr_method_call(self, call);
    }

    fn visit_expr_path(&mut self, path: &'s syn::ExprPath) {
        if let Some(word) = is(&path.path, &CALLS) {
            self.0.fault(word);
        }
        syn::visit::visit_expr_path(self, path);
    }
}
