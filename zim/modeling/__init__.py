"""The networks: image encoders, prompt encoder, two-way transformer, pixel decoder, and ZIM itself."""
