"""What the runtime knows of an operator: schema, shape rule, function body, purity."""
