//! The house style as tests: dependencies, plain language, types of errors, documents and sizes.

mod documents;
mod files;
mod language;
mod layers;
mod size;
mod types;
