"""One small reader for each kind of data; `her_hf.scenes.load_scenes` chooses among them."""
