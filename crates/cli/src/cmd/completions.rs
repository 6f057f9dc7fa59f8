use std::io::Write;

use clap::Args;

use crate::error::DONE;
use crate::output::closed_or;

/// Prints completions for a shell
///
///   stillcore completions bash > /etc/bash_completion.d/stillcore
///   stillcore completions zsh > ~/.zfunc/_stillcore
///   stillcore completions fish > ~/.config/fish/completions/stillcore.fish
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub struct Completions {
    #[arg(value_enum)]
    shell: clap_complete::Shell,
}

impl Completions {
    pub fn run(&self, mut program: clap::Command) -> anyhow::Result<u8> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut program, "stillcore", &mut script);
        std::io::stdout()
            .lock()
            .write_all(&script)
            .map_err(closed_or)?;
        Ok(DONE)
    }
}
