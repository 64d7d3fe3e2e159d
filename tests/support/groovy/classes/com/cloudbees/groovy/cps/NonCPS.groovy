package com.cloudbees.groovy.cps

/** Stands for Jenkins's own annotation, which nothing here acts on. */
@interface NonCPS {}
