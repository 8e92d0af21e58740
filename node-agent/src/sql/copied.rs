//! A copy to the client, as the rows that it is made of.
//!
//! Copy data has no columns that a mask could follow: the answer to COPY names none. So a copy of
//! masked data is asked for as rows, whose columns the database names, and its text is made of them
//! here. Which rows these are, and how the copy would have written them, is read from the
//! statement.

/// How a COPY … TO STDOUT can be made of rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CopyOut {
    /// By these.
    Rows(CopyRows),
    /// Not at all, and why, to end a sentence.
    Otherwise(&'static str),
}

/// The rows of a copy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CopyRows {
    /// The query that gives them: the statement's own, or one that reads its table.
    pub query: String,
    /// Which of their columns are copied.
    pub columns: CopyColumns,
    /// How they are written.
    pub layout: CopyLayout,
}

/// Which columns of a copy's rows are copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CopyColumns {
    /// As many as there are.
    All,
    /// A table's own: generated ones are left out.
    NotGenerated,
}

/// How a copy is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CopyLayout {
    /// Which of the two forms.
    pub form: CopyForm,
    /// Between cells.
    pub delimiter: u8,
    /// In place of a NULL.
    pub null: String,
    /// Whether the columns' names come first.
    pub header: bool,
}

/// The forms of a copy that have a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CopyForm {
    /// One line a row, with backslashes before what would be misread.
    Text,
    /// Comma separated values.
    Csv {
        /// Around cells that need it.
        quote: u8,
        /// Before a quote within quotes.
        escape: u8,
        /// Columns whose values always have quotes.
        force: ForceQuote,
    },
}

/// Columns whose values always have quotes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ForceQuote {
    /// All.
    All,
    /// Those of these names.
    Named(Vec<String>),
}
