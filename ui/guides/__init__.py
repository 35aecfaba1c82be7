"""The Guides page: versions of guides are published, rolled back and compared, and retrained from judgements."""
