"""Foundation models, frozen or tuned, and what is known of them."""
