//! `row!`: a struct that a row of either engine is read into, each field from the column of its name.
//!
//! sqlx has a derive for it. With that, everybody's first build compiles both drivers, SQLite and the TLS
//! library a second time, for the compiler's own use.

/// Declares the struct and reads it from rows of any engine that has its types. A first field written
/// `..name: Type` is read from the same row as a struct of its own.
macro_rules! row {
    ($(#[$meta:meta])* $vis:vis struct $name:ident {
        $(..$part:ident: $part_type:ty,)?
        $($(#[$field_meta:meta])* $field_vis:vis $field:ident: $type:ty,)+
    }) => {
        $(#[$meta])*
        $vis struct $name {
            $($part: $part_type,)?
            $($(#[$field_meta])* $field_vis $field: $type,)+
        }

        impl<'r, R: sqlx::Row> sqlx::FromRow<'r, R> for $name
        where
            &'static str: sqlx::ColumnIndex<R>,
            $($part_type: sqlx::FromRow<'r, R>,)?
            $($type: sqlx::Decode<'r, R::Database> + sqlx::Type<R::Database>,)+
        {
            fn from_row(row: &'r R) -> sqlx::Result<Self> {
                Ok(Self {
                    $($part: sqlx::FromRow::from_row(row)?,)?
                    $($field: row.try_get(stringify!($field))?,)+
                })
            }
        }
    };
}
