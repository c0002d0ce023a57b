//! The house style as tests: dependencies, plain language, types of errors, documents and sizes.

mod cycles;
mod documents;
mod files;
mod language;
mod layers;
mod modules;
mod size;
mod types;
