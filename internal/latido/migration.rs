//! The files in which migration tools take an installation: its SQL, and the SQL that leads back.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::ValueEnum;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use latido_postgres::Migration;

use crate::migration_version::next_version;
use crate::shell_word::shell_word;

/// A tool that applies migrations, which decides their form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum MigrationTool {
    /// Two files for psql or golang-migrate: VERSION_latido.up.sql and VERSION_latido.down.sql
    Sql,
    /// The folder VERSION_latido with migration.sql and down.sql
    Prisma,
    /// VVERSION__latido.sql, and UVERSION__latido.sql to undo it
    Flyway,
    /// One file with both parts: VERSION_latido.sql
    Dbmate,
    /// A class in TypeScript: TIME-Latido.ts
    #[value(name = "typeorm")]
    TypeOrm,
}

/// A file of a migration, below the folder of all migrations.
#[derive(Debug, Clone, PartialEq, Eq)]
struct MigrationFile {
    path: PathBuf,
    text: String,
}

impl MigrationTool {
    /// Writes the migration to files below `folder`, which is created if need be, and returns
    /// their paths. The time orders it among others, unless the folder counts its migrations.
    ///
    /// # Errors
    /// Returns an error if a file exists already, or cannot be written, or if the tool would take it
    /// apart wrongly.
    pub fn write(
        self,
        migration: &Migration,
        folder: &Path,
        time: Timestamp,
    ) -> anyhow::Result<Vec<PathBuf>> {
        if self == Self::Dbmate && has_dbmate_line(migration) {
            anyhow::bail!(
                "the SQL has a line that dbmate takes for a mark of its own (-- migrate:), within a name or a lookup: \
                 rename that, or choose --migration sql"
            );
        }
        let mut written = Vec::new();
        for MigrationFile { path, text } in self.files(migration, folder, time) {
            let path = folder.join(path);
            let failed = || format!("{} could not be written", path.display());
            if let Some(parent) = path.parent() {
                std::fs::create_dir_all(parent).with_context(failed)?;
            }
            let mut options = std::fs::OpenOptions::new();
            let file = options.write(true).create_new(true).open(&path);
            std::io::Write::write_all(&mut file.with_context(failed)?, text.as_bytes())
                .with_context(failed)?;
            written.push(path);
        }
        Ok(written)
    }

    /// Returns the command that applies the migration of these files, the first of which leads up.
    pub fn next_step(self, folder: &Path, files: &[PathBuf]) -> String {
        let path_word = |path: &Path| shell_word(&path.to_string_lossy());
        let folder = path_word(folder);
        match self {
            Self::Sql => {
                let file = files.first().map(|file| path_word(file));
                let file = file.unwrap_or_default();
                format!("psql \"$DATABASE_URL\" -v ON_ERROR_STOP=1 -f {file}")
            }
            Self::Prisma => "npx prisma migrate deploy".to_owned(),
            Self::Flyway => "flyway migrate".to_owned(),
            Self::Dbmate => format!("dbmate --migrations-dir {folder} up"),
            Self::TypeOrm => "npx typeorm migration:run -d YOUR-DATA-SOURCE".to_owned(),
        }
    }

    fn files(self, migration: &Migration, folder: &Path, time: Timestamp) -> Vec<MigrationFile> {
        let Migration { up, down } = migration;
        let now = time.to_zoned(TimeZone::UTC).strftime("%Y%m%d%H%M%S");
        let version = match self {
            Self::Sql => next_version(folder, &[], &now.to_string()),
            Self::Flyway => next_version(folder, &['V', 'U', 'B'], &now.to_string()),
            // Their own commands make every version of the time.
            Self::Prisma | Self::Dbmate | Self::TypeOrm => now.to_string(),
        };
        match self {
            Self::Sql => vec![
                file(format!("{version}_latido.up.sql"), in_transaction(up)),
                file(format!("{version}_latido.down.sql"), in_transaction(down)),
            ],
            Self::Prisma => vec![
                file(
                    format!("{version}_latido/migration.sql"),
                    in_transaction(up),
                ),
                file(format!("{version}_latido/down.sql"), in_transaction(down)),
            ],
            Self::Flyway => {
                let mut files = Vec::new();
                for (kind, sql) in [('V', up), ('U', down)] {
                    let name = format!("{kind}{version}__latido.sql");
                    if sql.contains("${") {
                        // Flyway would take it for a placeholder of its own.
                        let settings = "placeholderReplacement=false\n".to_owned();
                        files.push(file(format!("{name}.conf"), settings));
                    }
                    files.push(file(name, in_one_statement(sql)));
                }
                files
            }
            Self::Dbmate => vec![file(
                format!("{version}_latido.sql"),
                format!("-- migrate:up\n{up}\n-- migrate:down\n{down}"),
            )],
            Self::TypeOrm => {
                let milliseconds = time.as_millisecond();
                vec![file(
                    format!("{milliseconds}-Latido.ts"),
                    typeorm_class(milliseconds, up, down),
                )]
            }
        }
    }
}

fn file(path: String, text: String) -> MigrationFile {
    MigrationFile {
        path: path.into(),
        text,
    }
}

/// Returns whether dbmate would divide the file elsewhere: it looks for lines, also within quotes.
fn has_dbmate_line(migration: &Migration) -> bool {
    let is_mark = |line: &str| {
        let comment = line.strip_prefix("--");
        comment.is_some_and(|text| text.trim_start().starts_with("migrate:"))
    };
    let mut lines = migration.up.lines().chain(migration.down.lines());
    lines.any(is_mark)
}

fn in_transaction(sql: &str) -> String {
    format!("BEGIN;\n{sql}\nCOMMIT;\n")
}

/// Returns one statement that runs all of these. Flyway splits its files itself, and does not find the
/// end of a function in SQL-standard form.
fn in_one_statement(sql: &str) -> String {
    let free = |tag: &String| !sql.contains(tag.as_str());
    let mut tags = (1..).map(|n| format!("$flyway{n}$")).filter(free);
    let (Some(block), Some(text)) = (tags.next(), tags.next()) else {
        return sql.to_owned();
    };
    format!("DO {block}\nBEGIN\n  EXECUTE {text}\n{sql}{text};\nEND\n{block};\n")
}

/// Returns a class that TypeORM runs. Its name ends with the time in milliseconds, as TypeORM
/// expects of every migration.
fn typeorm_class(milliseconds: i64, up: &str, down: &str) -> String {
    let (up, down) = (template_literal(up), template_literal(down));
    format!(
        "import type {{ MigrationInterface, QueryRunner }} from 'typeorm';\n\n\
         export class Latido{milliseconds} implements MigrationInterface {{\n  \
           name = 'Latido{milliseconds}';\n\n  \
           async up(queryRunner: QueryRunner): Promise<void> {{\n    \
             await queryRunner.query({up});\n  \
           }}\n\n  \
           async down(queryRunner: QueryRunner): Promise<void> {{\n    \
             await queryRunner.query({down});\n  \
           }}\n\
         }}\n"
    )
}

/// Returns a template literal of JavaScript whose value is this text. An unescaped carriage return would
/// become a line feed.
fn template_literal(text: &str) -> String {
    let escaped = text.replace('\\', "\\\\").replace('`', "\\`");
    let escaped = escaped.replace('\r', "\\r");
    format!("`{}`", escaped.replace("${", "\\${"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(tool: MigrationTool, up: &str) -> Vec<String> {
        let migration = Migration {
            up: up.to_owned(),
            down: "SELECT 2;\n".to_owned(),
        };
        let time = "2026-11-30T08:05:09.123Z".parse().unwrap();
        let files = tool.files(&migration, Path::new("/nowhere"), time);
        files
            .iter()
            .map(|file| file.path.display().to_string())
            .collect()
    }

    #[test]
    fn files_have_the_names_that_their_tools_look_for() {
        let of = |tool| paths(tool, "SELECT 1;\n");
        let version = "20261130080509";
        assert_eq!(
            of(MigrationTool::Sql),
            [
                format!("{version}_latido.up.sql"),
                format!("{version}_latido.down.sql")
            ]
        );
        assert_eq!(
            of(MigrationTool::Prisma),
            [
                format!("{version}_latido/migration.sql"),
                format!("{version}_latido/down.sql")
            ]
        );
        assert_eq!(
            of(MigrationTool::Flyway),
            [
                format!("V{version}__latido.sql"),
                format!("U{version}__latido.sql")
            ]
        );
        assert_eq!(of(MigrationTool::Dbmate), [format!("{version}_latido.sql")]);
        assert_eq!(of(MigrationTool::TypeOrm), ["1796025909123-Latido.ts"]);
    }

    #[test]
    fn sql_means_the_same_in_every_form() {
        assert_eq!(template_literal("a`${b}\\"), "`a\\`\\${b}\\\\`");
        assert_eq!(template_literal("a\r\nb"), "`a\\r\nb`");
        let flyway = paths(MigrationTool::Flyway, "SELECT '${x}';\n");
        assert_eq!(flyway[0], "V20261130080509__latido.sql.conf");
        assert_eq!(
            in_one_statement("SELECT '$flyway1$';\n"),
            "DO $flyway2$\nBEGIN\n  EXECUTE $flyway3$\nSELECT '$flyway1$';\n$flyway3$;\nEND\n$flyway2$;\n"
        );
    }
}
