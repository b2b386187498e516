//! What the body's own code needs changed; its other tokens stay as they are.

mod checkpoints;
mod returns;
mod rounds;

use crate::check::Generator;
use syn::visit_mut::VisitMut;

use self::checkpoints::Checkpoints;
use self::returns::Returns;

/// Adds checkpoints, and makes a bare `return` fit the body of a generator of `Result`s.
pub(crate) fn rewrite(mut generator: Generator) -> Generator {
    let mut checkpoints = Checkpoints::new(&generator);
    let is_fallible = generator.is_fallible();
    for statement in generator.body_mut() {
        checkpoints.visit_stmt_mut(statement);
        if is_fallible {
            Returns.visit_stmt_mut(statement);
        }
    }
    generator
}
