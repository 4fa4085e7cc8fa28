"""The subcommands of `defake train`: a module with `register(train)` is one, found by its being here."""
