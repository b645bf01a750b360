"""Other libraries' implementations, each an extra; they come in by the entry points that third parties' do."""
