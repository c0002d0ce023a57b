//! Black-box tests of the product, through its public interface.

mod embedded;
mod harness;
mod postgres;
