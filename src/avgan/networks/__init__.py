"""The paper's five networks: features in, features out. None of them knows data, training or another network."""
