//! The macros that the expansion brings into a body.

use syn::Path;

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Word {
    Yield,
    YieldAll,
    Shield,
    Defer,
}

impl Word {
    pub(crate) const ALL: [Self; 4] = [Self::Yield, Self::YieldAll, Self::Shield, Self::Defer];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Yield => "yield_",
            Self::YieldAll => "yield_all",
            Self::Shield => "shield",
            Self::Defer => "defer",
        }
    }

    /// The one that is called by this path.
    pub(crate) fn called_by(path: &Path) -> Option<Self> {
        Self::ALL.into_iter().find(|word| path.is_ident(word.name()))
    }

    /// Whether it hands items on.
    pub(crate) fn yields(self) -> bool {
        matches!(self, Self::Yield | Self::YieldAll)
    }
}
