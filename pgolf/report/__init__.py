"""What people look at: pictures drawn from the result tables alone."""
